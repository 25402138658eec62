// A source picture and what is painted over it: loading, layers, tools and saving. The pointer is pointer.js's matter,
// keys are hotkeys.js's.
//
// What it is handed: `store` keeps pictures and documents on the server, `config` holds the settings scripts go by,
// `onChange` hears of every change of the value `{image, mask, sketch, mode, width, height}`, `copyTo` are the other tabs
// that take the picture: name → what is done with it (a Blob). Layers are sent in the background after each change;
// `flush` waits for it.

const search = new URL(import.meta.url).search;
const { CanvasView } = await import(`./view.js${search}`);
const { PictureDocument } = await import(`./document.js${search}`);
const { MODES, modeForMask } = await import(`./modes.js${search}`);
const { applyTail } = await import(`./raster.js${search}`);
const { encodePng } = await import(`./png.js${search}`);
const { pixelsOperation, maskBytes, holes, scaled } = await import(`./pixels.js${search}`);
const { createToolbar } = await import(`./toolbar.js${search}`);
const { watchPointer } = await import(`./pointer.js${search}`);
const { watchArea } = await import(`./area_box.js${search}`);
const { actionOf, isMoveKey } = await import(`./hotkeys.js${search}`);
const { element, isTyping, debounce, toast } = await import(`../dom.js${search}`);

const SIZE_MIN = 1;
const SIZE_MAX = 300;
const SAVE_AFTER_MS = 350;
const BOUNDED = ["stroke", "lasso", "rectangle"]; // operations that touch a part of the picture

// A picture as its file has it: no colour profile applied, no colour multiplied by its alpha.
const decode = (blob) => createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });

export class PictureEditor {
  constructor({ name, host, modes, store, config, onChange, copyTo = {} }) {
    Object.assign(this, { name, modes, store, config, onChange, copyTo });
    this.mode = modes[0];
    this.layer = MODES[this.mode].layers[0] ?? null; // what the tools paint
    this.size = 40;
    this.ownColour = null; // "#rrggbb" once one was chosen
    this.paintOpacity = 100; // percent
    this.tool = this.toolBefore = "brush";
    this.value = null; // what the server knows of the picture and its layers
    this.document = null; // PictureDocument
    this.version = 0;
    this.savedVersion = 0;
    this.generation = 0; // counts loaded pictures, so that a slow load cannot overwrite a newer one
    this.saveSoon = debounce(SAVE_AFTER_MS, () => this.save());
    this.build(host);
  }

  build(host) {
    this.input = element("input", { type: "file", class: "webui-source-file", accept: "image/*", multiple: this.modes.includes("inpaint"), hidden: true, "aria-label": "Choose a picture",
      onchange: () => { const files = [...this.input.files]; this.input.value = ""; if (files.length) this.loadFiles(files); } });
    this.board = element("div", { class: "webui-board", tabIndex: 0, role: "application" });
    this.hint = element("small", {});
    this.blank = element("button", { type: "button", class: "webui-button", onclick: () => this.loadBlank() }, "Start with a white sheet");
    const choose = element("button", { type: "button", class: "webui-choose", onclick: () => this.input.click() },
      element("span", { class: "big wicon wicon-plus" }), element("span", {}, "Drop, paste or click to choose a picture"), this.hint);
    this.empty = element("div", { class: "webui-dropzone" }, choose, this.blank);
    this.facts = element("span", { class: "webui-facts" });
    this.toolbar = createToolbar(this);
    this.root = element("div", { class: "webui-editor" }, this.toolbar.element, this.board, this.empty, this.input);
    this.view = new CanvasView(this.board);
    this.board.append(this.facts);
    host.replaceChildren(this.root);
    this.listen();
    this.area = watchArea(this);
    this.showMode();
  }

  // The brush's colour: the one chosen last, until then the settings'.
  get colour() { return this.ownColour ?? this.config[this.modes.includes("sketch") ? "img2img_sketch_default_brush_color" : "img2img_inpaint_sketch_default_brush_color"] ?? "#000000"; }

  set colour(colour) { this.ownColour = colour; }

  // ---- what the picture is used for

  get hasPicture() { return Boolean(this.value); }

  get shown() { return MODES[this.mode].layers; }

  get paints() { return this.layer !== null; }

  setMode(mode) {
    if (mode === this.mode || !this.modes.includes(mode)) return;
    this.mode = mode;
    this.layer = this.shown[0] ?? null;
    this.showMode();
    this.tell();
  }

  showMode() {
    this.root.dataset.mode = this.mode;
    this.board.setAttribute("aria-label", { sketch: "Sketch editor", mask: "Mask editor" }[this.layer] ?? "Source picture");
    this.hint.textContent = this.modes.includes("inpaint") ? "or a picture and its mask together: white is repainted" : "";
    this.blank.hidden = this.layer !== "sketch";
    if (this.tool === "eyedropper" && this.layer !== "sketch") this.tool = "brush";
    this.view.setLayers(this.shown);
    this.refresh();
    this.area.soon();
  }

  setLayer(layer) {
    this.layer = layer;
    if (this.tool === "eyedropper") this.tool = "brush";
    this.refresh();
  }

  // ---- loading

  // A picture from a file, the clipboard or another panel: kept on the server, and nothing painted over it; or what
  // `document` says.
  async load(blob, { document = null } = {}) {
    const turn = ++this.generation;
    let bitmap;
    try {
      bitmap = await decode(blob);
    } catch {
      toast("That file is not a picture this browser can show.", "error");
      return false;
    }
    if (turn !== this.generation) return false;
    const { width, height } = bitmap;
    this.value = { image: null, mask: null, sketch: null, width, height };
    this.show(bitmap, document?.width === width && document.height === height ? document : new PictureDocument(width, height));
    this.uploading = this.store.putPicture(blob).then((sha) => {
      if (turn !== this.generation) return;
      this.value = { ...this.value, image: sha };
      this.touch();
    }, (error) => {
      if (turn === this.generation) { this.clearPicture(); toast(error.message, "error"); }
    });
    await this.uploading;
    return turn === this.generation;
  }

  show(bitmap, document) {
    this.document = document;
    this.view.setTint(this.config.img2img_inpaint_mask_brush_color);
    this.view.show(bitmap, bitmap.width, bitmap.height);
    for (const layer of document.layers.values()) this.view.paint(layer.name, layer.raster);
    this.lastPoint = null;
    this.refresh(); // the board appears, so its size is known
    this.view.resize();
    const { clientWidth, clientHeight } = this.board;
    if (this.config.canvas_auto_expand === false && (bitmap.width > clientWidth || bitmap.height > clientHeight)) this.view.actualSize();
    this.area.soon();
  }

  // A picture and, for inpainting, its mask: the file that says so in its name, else the second one.
  async loadFiles(files) {
    const isMask = (file) => /mask/i.test(file.name);
    const [picture, mask] = isMask(files[0]) && files[1] && !isMask(files[1]) ? [files[1], files[0]] : files;
    if (await this.load(picture) && this.modes.includes("inpaint") && mask) await this.takeMask(mask);
  }

  // A white picture of the size that is to be generated, to sketch on.
  async loadBlank() {
    const { width, height } = this.area.form().size;
    const canvas = new OffscreenCanvas(width, height);
    Object.assign(canvas.getContext("2d"), { fillStyle: "white" }).fillRect(0, 0, width, height);
    await this.load(await canvas.convertToBlob());
  }

  // What a value from the server (a draft, a handler) shows; what was painted comes with it.
  async restore(value) {
    if (value?.mode && this.modes.includes(value.mode) && !this.hasPicture && value.mode !== this.mode) {
      this.mode = value.mode;
      this.layer = this.shown[0] ?? null;
      this.showMode();
    }
    if (!value?.image || value.image === this.value?.image) return;
    const turn = ++this.generation;
    const [blob, kept] = await Promise.all([this.store.getPicture(value.image), this.store.getDocument(this.name)]);
    if (!blob || turn !== this.generation) return;
    const bitmap = await decode(blob);
    const { width, height } = bitmap;
    const fits = kept?.layers && kept.image === value.image && kept.width === width && kept.height === height;
    const document = fits ? await PictureDocument.read(width, height, kept) : new PictureDocument(width, height);
    if (turn !== this.generation) return;
    this.value = { image: value.image, mask: value.mask ?? null, sketch: value.sketch ?? null, width, height };
    for (const layer of document.layers.values()) layer.kept = { version: layer.version, sha: this.value[layer.name] };
    this.show(bitmap, document);
  }

  clearPicture() {
    this.generation += 1;
    this.value = null;
    this.document = null;
    this.refresh();
    this.area.soon();
    this.tell();
    this.store.putDocument(this.name, null);
  }

  // A result to work on further, under the same mask. Colours painted over the old picture are in the new one by now:
  // their place joins the mask, and they go (one undo brings them back).
  async loadKeepingMask(blob) {
    const { document, mode } = this;
    if (!await this.load(blob, { document })) return;
    const sketch = mode === "inpaint_sketch" && document?.layers.has("sketch") && !document.layer("sketch").isEmpty ? document.layer("sketch").raster : null;
    const isKept = this.document === document;
    if (!document || (isKept && !sketch) || (!sketch && document.layer("mask").isEmpty)) return;
    const { width, height, data } = document.layer("mask").raster;
    const covered = sketch ? data.map((value, k) => (sketch.data[4 * k + 3] ? 255 : value)) : data;
    const bytes = scaled({ data: covered, width, height }, this.value.width, this.value.height);
    this.commit(await pixelsOperation(bytes), { layer: "mask" });
    if (isKept && sketch) this.commit({ kind: "fill", colour: null }, { layer: "sketch" });
  }

  // ---- painting

  get mask() { return this.document?.layer("mask") ?? null; }

  get isMaskEmpty() { return !this.document?.layers.has("mask") || this.mask.isEmpty; }

  // What a tool paints into the layer in hand.
  paint(erases) {
    if (this.layer === "mask") return { value: erases ? 0 : 255 };
    return erases ? { colour: null } : { colour: this.colour, opacity: this.paintOpacity };
  }

  paintTail(stroke, from) {
    const { raster } = this.document.layer(this.layer);
    this.view.paint(this.layer, raster, applyTail(raster, stroke, from));
  }

  // Show the layer in hand as its document has it, without a stroke that was given up.
  repaint() {
    const layer = this.document.layer(this.layer);
    layer.raster = layer.rasterAt(layer.done);
    this.view.paint(this.layer, layer.raster);
  }

  commit(operation, { painted = false, layer = this.layer } = {}) {
    if (!this.document || !layer) return;
    const box = this.document.add(layer, operation, { painted, shown: this.shown });
    if (!painted) this.view.paint(layer, this.document.layer(layer).raster, BOUNDED.includes(operation.kind) ? box : undefined);
    if (operation.colour) this.toolbar.remember(operation.colour);
    this.touch();
  }

  undo() { this.showStep(this.document?.undo(this.shown)); }

  redo() { this.showStep(this.document?.redo(this.shown)); }

  showStep(layer) {
    if (!layer) return;
    this.view.paint(layer.name, layer.raster);
    this.touch();
  }

  clear() { this.commit({ kind: "fill", ...this.paint(true) }); }

  setColour(colour) {
    this.colour = colour;
    if (this.tool === "eraser") this.setTool("brush");
    this.toolbar.refresh();
  }

  setPaintOpacity(percent) { this.paintOpacity = percent; }

  // The colour that is seen at a picture point, sketch included, becomes the brush's.
  pick({ x, y }) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column < 0 || row < 0 || column >= this.value.width || row >= this.value.height) return;
    let seen = this.view.colourAt(column, row);
    if (this.document.layers.has("sketch")) {
      const place = 4 * (row * this.value.width + column);
      const [red, green, blue, alpha] = this.document.layer("sketch").raster.data.subarray(place, place + 4);
      seen = [red, green, blue].map((above, k) => Math.round((above * alpha + seen[k] * (255 - alpha)) / 255));
    }
    this.colour = `#${seen.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
    this.toolbar.refresh();
  }

  setSize(size) {
    this.size = Math.round(Math.min(SIZE_MAX, Math.max(SIZE_MIN, size)));
    this.toolbar.refresh();
    this.pointer.showBrush();
  }

  setTool(name) {
    if (name === "eyedropper" && this.layer !== "sketch") return;
    if (this.tool !== "eyedropper") this.toolBefore = this.tool;
    this.tool = name;
    this.toolbar.refresh();
    this.pointer.showBrush();
  }

  // ---- the mask and files

  // A mask that somebody chose: shown at once, whatever the mode was.
  async takeMask(blob) {
    const mode = modeForMask(this.mode, this.modes);
    if (mode && this.layer !== "mask") this.setMode(mode);
    await this.importMask(blob);
  }

  // Read the mask from a picture file (white is repainted), brought to the picture's size.
  async importMask(blob) {
    let bitmap;
    try {
      bitmap = await decode(blob);
    } catch {
      toast("That file is not a picture this browser can show.", "error");
      return;
    }
    this.commit(await pixelsOperation(maskBytes(bitmap, this.value.width, this.value.height)), { layer: "mask" });
  }

  // What cannot be seen of the source is repainted.
  async importAlpha() {
    const bitmap = await decode(await this.store.getPicture(this.value.image));
    this.commit(await pixelsOperation(holes(bitmap, bitmap.width, bitmap.height)), { layer: "mask" });
  }

  // The picture as another tab gets it: with the sketch, as it is seen.
  async copy(target) {
    const blob = await this.store.getPicture(this.value.image);
    const sketch = this.shown.includes("sketch") && this.document.layers.has("sketch") ? this.document.layer("sketch") : null;
    await this.copyTo[target](sketch && !sketch.isEmpty ? await this.flattened(blob, sketch.raster) : blob);
  }

  async flattened(blob, raster) {
    const { width, height } = this.value;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.drawImage(await decode(blob), 0, 0);
    context.drawImage(await createImageBitmap(new ImageData(new Uint8ClampedArray(raster.data), width, height)), 0, 0);
    return canvas.convertToBlob();
  }

  async downloadMask() {
    const link = element("a", { download: "mask.png", href: URL.createObjectURL(await encodePng(this.mask.raster)) });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // ---- saving

  touch() {
    this.version += 1;
    this.refresh();
    this.area.soon();
    this.saveSoon();
  }

  save() {
    this.saving = (this.saving ?? Promise.resolve()).then(() => this.saveNow()).catch((error) => toast(error.message, "error"));
    return this.saving;
  }

  async saveNow() {
    const { version, generation, document } = this;
    if (version === this.savedVersion || !this.value?.image) return;
    const hashes = {};
    for (const layer of document.layers.values()) hashes[layer.name] = await this.keep(layer);
    await this.store.putDocument(this.name, { image: this.value.image, ...document.toJSON() });
    if (generation !== this.generation) return;
    this.savedVersion = version;
    this.value = { ...this.value, ...hashes };
    this.tell();
  }

  // The hash under which the server keeps a layer as it is now; null for an empty one.
  async keep(layer) {
    const { version, isEmpty, kept, raster } = layer;
    if (isEmpty) return null;
    if (kept?.version === version) return kept.sha;
    layer.kept = { version, sha: await this.store.putPicture(await encodePng(raster)) };
    return layer.kept.sha;
  }

  // The value as it is submitted and drafted; the mode is part of it, with or without a picture.
  get submitted() { return { ...(this.value ?? { image: null }), mode: this.mode }; }

  tell() { this.onChange(this.submitted); }

  // Wait until the server has the newest strokes; returns the value to submit.
  async flush() {
    await this.uploading;
    await this.saveSoon.now();
    return this.submitted;
  }

  // ---- pointer and keyboard

  listen() {
    this.pointer = watchPointer(this);
    this.root.addEventListener("dragover", (event) => { event.preventDefault(); this.root.classList.add("over"); });
    this.root.addEventListener("dragleave", () => this.root.classList.remove("over"));
    this.root.addEventListener("drop", (event) => this.drop(event));
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keyup", (event) => { if (this.isPanning && isMoveKey(event, this.config)) this.isPanning = false; });
  }

  async drop(event) {
    event.preventDefault();
    this.root.classList.remove("over");
    const files = [...event.dataTransfer.files];
    const isMask = this.mode === "inpaint_upload" && this.hasPicture && files.length === 1 && this.isMaskEmpty;
    if (isMask) await this.takeMask(files[0]);
    else if (files.length) await this.loadFiles(files);
    else {
      const address = event.dataTransfer.getData("text/uri-list");
      if (address && new URL(address).origin === location.origin) await this.load(await (await fetch(address)).blob());
    }
  }

  get isActive() {
    return this.hasPicture && this.board.offsetParent !== null && (this.pointer.isHovered || this.root.contains(document.activeElement));
  }

  key(event) {
    if (!this.isActive || isTyping(event.target)) return;
    const presses = event.key === " " && !this.pointer.isHovered && event.target.closest?.("button, summary");
    const action = presses ? null : actionOf(event, this.config);
    if (event.key === "Escape" && this.isLarge) this.toggleLarge(null);
    else if (action && (this.paints || !(event.ctrlKey || event.metaKey))) action(this);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  get isLarge() { return this.root.classList.contains("full") || this.root.classList.contains("overlap"); }

  // Fill the window ("full"), lie over the page ("overlap"), or back to the place in it.
  toggleLarge(how) {
    const isOn = how !== null && !this.root.classList.contains(how);
    for (const one of ["full", "overlap"]) this.root.classList.toggle(one, isOn && one === how);
    document.body.classList.toggle("webui-editor-full", isOn && how === "full");
    this.view.resize();
    this.view.fit();
  }

  refresh() {
    this.root.classList.toggle("has-picture", this.hasPicture);
    this.empty.hidden = this.hasPicture;
    this.facts.textContent = this.hasPicture ? `${this.value.width} × ${this.value.height}` : "";
    this.toolbar.refresh();
  }
}
