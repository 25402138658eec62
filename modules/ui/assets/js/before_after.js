// Before and after in the results viewer: the source lies over the result up to a line that can be moved.

const search = new URL(import.meta.url).search;
const { element, toast } = await import(`./dom.js${search}`);
const { at } = await import(`./http.js${search}`);

export class BeforeAfter {
  // `stage` holds the result as a picture that fills it; `onChange` hears when comparing ends by itself.
  constructor(stage, onChange) {
    this.onChange = onChange;
    this.isOn = false;
    this.shown = null; // id of the result whose source is on show
    this.source = element("img", { class: "before", alt: "The picture that this result was made from", draggable: false });
    this.line = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, class: "cut", title: "Before and after: lay the source over the result",
      "aria-label": "Where the source ends and the result begins", oninput: () => this.cut() });
    this.root = element("div", { class: "webui-before-after", hidden: true }, this.source, element("span", { class: "side" }, "Before"), element("span", { class: "side after" }, "After"),
      this.line, element("span", { class: "edge" }));
    stage.append(this.root);
    this.stage = stage;
  }

  cut() { this.root.style.setProperty("--cut", `${this.line.value}%`); }

  async toggle(image) {
    this.isOn = !this.isOn;
    this.line.value = 50;
    this.cut();
    await this.follow(image);
    if (!this.root.hidden) this.line.focus();
  }

  // Show the source of this result; null (a preview, nothing) hides it for the while.
  async follow(image) {
    this.root.hidden = !this.isOn || !image || this.shown !== image.id;
    if (!this.isOn || !image || this.shown === image.id || this.wanted === image.id) return;
    this.wanted = image.id;
    const next = new Image();
    next.src = at(`jobs/${image.job}/source?under=${image.id}`);
    try {
      await next.decode();
    } catch {
      if (this.wanted !== image.id) return;
      this.wanted = null;
      this.isOn = false;
      toast("The picture that this result was made from is not kept any more.", "error");
      this.onChange();
      return;
    }
    if (this.wanted !== image.id) return;
    this.wanted = null;
    this.shown = image.id;
    this.source.src = next.src;
    this.root.hidden = !this.isOn;
  }
}
