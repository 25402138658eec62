// The rectangle over the canvas that shows what "Only masked" will repaint, as the tab's controls say now.

const search = new URL(import.meta.url).search;
const { maskedArea } = await import(`./area.js${search}`);
const { debounce } = await import(`../dom.js${search}`);

const AFTER_MS = 60; // controls have their new value a moment after the change is told
const LEAST = 8; // a picture's sides are multiples of this

class AreaBox {
  constructor(editor) {
    this.editor = editor;
    this.tab = editor.name.replace(/_image$/, "");
    this.soon = debounce(AFTER_MS, () => this.show());
  }

  // What the tab's controls say, by the ids that modules/ui/controls.py gives them.
  form() {
    const control = (id, selector) => document.querySelector(`#${this.tab}_${id} ${selector}`);
    const number = (id) => Number(control(id, "input[type=number]")?.value);
    const chosen = (id) => control(id, "input:checked")?.value;
    const factor = control("resize_by", "input")?.checked ? number("scale") : null;
    const side = (id, own) => (factor && own ? Math.max(LEAST, Math.floor(Math.trunc(own * factor) / LEAST) * LEAST) : number(id) || 512);
    const { width, height } = this.editor.value ?? {};
    return {
      isOnlyMasked: chosen("inpaint_full_res") === "Only masked",
      isInverted: chosen("mask_mode") === "Inpaint not masked",
      blur: number("mask_blur"),
      padding: number("inpaint_full_res_padding"),
      strength: 1 - number("mask_alpha") / 100,
      size: { width: side("width", width), height: side("height", height) },
    };
  }

  // What would be repainted, [left, top, right, bottom) in picture pixels; null where that is not "Only masked".
  box() {
    const { document, shown } = this.editor;
    if (!document || !shown.includes("mask")) return null;
    const form = this.form();
    return form.isOnlyMasked ? maskedArea(this.mask(document, shown, form.strength), form) : null;
  }

  // The mask that will be sent: with a sketch, its strokes' area besides what was painted as mask.
  mask(document, shown, strength) {
    const { raster } = document.layer("mask");
    if (!shown.includes("sketch") || !document.layers.has("sketch")) return raster;
    const sketch = document.layer("sketch").raster.data;
    const painted = Math.trunc(Math.fround(strength) * 255);
    return { width: raster.width, height: raster.height, data: raster.data.map((value, k) => (sketch[4 * k + 3] ? Math.max(value, painted) : value)) };
  }

  show() {
    const box = this.box();
    const { size } = this.form();
    this.editor.view.showArea(box);
    const { facts, value } = this.editor;
    if (!value) return;
    facts.textContent = box ? `${box[2] - box[0]} × ${box[3] - box[1]} → ${size.width} × ${size.height}` : `${value.width} × ${value.height}`;
    facts.title = box ? "What is repainted, and the size at which" : "Size of the picture";
  }
}

export const watchArea = (editor) => new AreaBox(editor);
