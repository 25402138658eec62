// The editor's buttons and sliders. They only call the editor; their state is read back from it.

const search = new URL(import.meta.url).search;
const { element, button, icon } = await import(`../dom.js${search}`);
const { createColours } = await import(`./colours.js${search}`);
const { help } = await import(`./hotkeys.js${search}`);
const { MODES } = await import(`./modes.js${search}`);

const LAYERS = { sketch: ["Colour", "Paint with colour: the sketch, and mask"], mask: ["Mask", "Paint the mask alone: repainted without a sketch"] };

// A button that opens a box below itself; a click on something in the box closes it unless that is told to stay.
function menu(name, title, className, ...entries) {
  const box = element("div", { class: "webui-menu", onclick: (event) => { if (event.target.closest("button")) node.open = false; } }, ...entries);
  const summary = element("summary", { title, "aria-label": title, class: `wicon wicon-${name}` });
  const node = element("details", { class: `webui-more ${className}`, onfocusout: (event) => { if (event.relatedTarget && !node.contains(event.relatedTarget)) node.open = false; },
    onkeydown: (event) => { if (event.key === "Escape" && node.open) { node.open = false; summary.focus(); event.stopPropagation(); } } }, summary, box);
  document.addEventListener("pointerdown", (event) => { if (!node.contains(event.target)) node.open = false; });
  return { node, box };
}

export function createToolbar(editor) {
  const choice = (names, chosen, choose, describe, label) => {
    const buttons = names.map((name) => button(describe(name)[0], describe(name)[1], () => choose(name), { "aria-label": describe(name)[0] }));
    const node = element("span", { class: "webui-modes", role: "group", "aria-label": label, hidden: names.length < 2 }, ...buttons);
    return { node, refresh: () => names.forEach((name, k) => buttons[k].setAttribute("aria-pressed", String(name === chosen()))) };
  };
  const modes = choice(editor.modes, () => editor.mode, (name) => editor.setMode(name), (name) => [MODES[name].label, MODES[name].hint], "What the picture is used for");
  const layers = choice(["sketch", "mask"], () => editor.layer, (name) => editor.setLayer(name), (name) => LAYERS[name], "What the tools paint");

  const tools = {
    brush: icon("brush", "Brush (B); Shift draws straight lines, right button erases", () => editor.setTool("brush")),
    eraser: icon("eraser", "Eraser (E)", () => editor.setTool("eraser")),
    rectangle: icon("rectangle", "Fill a rectangle", () => editor.setTool("rectangle")),
    lasso: icon("lasso", "Fill a free-hand outline", () => editor.setTool("lasso")),
  };
  const size = element("input", { type: "range", min: 1, max: 300, step: 1, title: "Brush size in picture pixels",
    "aria-label": "Brush size", oninput: () => editor.setSize(Number(size.value)) });
  const sizeText = element("output", { class: "webui-number" });
  const undo = icon("undo", "Undo (Ctrl+Z)", () => editor.undo());
  const redo = icon("redo", "Redo (Ctrl+Y)", () => editor.redo());
  const clear = button("Clear", "Remove everything painted here", () => editor.clear());

  const maskFile = element("input", { type: "file", accept: "image/*", hidden: true, class: "webui-mask-file", "aria-label": "Mask from a file",
    onchange: () => { if (maskFile.files[0]) editor.takeMask(maskFile.files[0]); maskFile.value = ""; } });
  const fromFile = button("Mask from file…", "White is repainted. Picture and mask can also be dropped together", () => maskFile.click());
  const opacity = element("input", { type: "range", min: 5, max: 100, step: 5, value: 55, title: "How strongly the mask is shown",
    "aria-label": "Mask opacity", oninput: () => editor.view.setOpacity(Number(opacity.value) / 100) });
  const by = element("input", { type: "number", min: 1, max: 256, value: 4, "aria-label": "Pixels" });
  const pixels = () => Math.min(256, Math.max(1, Math.round(Number(by.value)) || 1));
  const edit = (kind, sign = 1) => () => editor.commit({ kind, by: sign * pixels() }, { layer: "mask" });
  const masking = menu("more", "More mask tools", "webui-mask-menu",
    button("Invert", "Swap masked and unmasked", () => editor.commit({ kind: "invert" }, { layer: "mask" })),
    button("Fill", "Mask everything", () => editor.commit({ kind: "fill", value: 255 }, { layer: "mask" })),
    element("div", { class: "by" }, element("label", {}, "by", by, "px"),
      button("Grow", "Make the mask larger by that many pixels", edit("grow")),
      button("Shrink", "Make the mask smaller by that many pixels", edit("grow", -1)),
      button("Feather", "Soften the mask's edge by that many pixels to either side", edit("feather"))),
    button("Mask from transparency", "Transparent areas are repainted", () => editor.importAlpha()),
    button("Save mask", "Download the mask as PNG", () => editor.downloadMask()),
    element("label", { class: "webui-slider" }, "Shown", opacity));
  const colours = createColours(editor);
  const painting = element("div", { class: "webui-painting" },
    element("span", { class: "webui-tools" }, ...Object.values(tools)),
    layers.node,
    element("label", { class: "webui-slider" }, "Size", size, sizeText),
    element("span", { class: "webui-tools" }, undo, redo, clear, fromFile, masking.node), maskFile);

  const helping = menu("help", "Keys", "webui-help", element("dl", {}));
  helping.node.addEventListener("toggle", () => {
    if (helping.node.open) helping.box.firstChild.replaceChildren(...help(editor.config, editor.paints).flatMap(([keys, words]) => [element("dt", {}, element("kbd", {}, keys)), element("dd", {}, words)]));
  });
  const fit = button("Fit", "Show the whole picture", () => editor.view.fit());
  const copies = Object.keys(editor.copyTo).map((target) => button(`→ ${target}`, `Copy this picture to ${target}`, () => editor.copy(target)));
  const viewing = element("span", { class: "webui-tools right" }, ...copies, helping.node, fit,
    icon("full", "Fill the window", () => editor.toggleLarge("full")),
    icon("open", "Choose another picture", () => editor.input.click()),
    icon("close", "Remove the picture", () => editor.clearPicture()));
  const bar = element("div", { class: "webui-toolbar", role: "toolbar", "aria-label": "Picture tools" },
    element("div", { class: "webui-painting" }, modes.node, viewing), painting, colours.element);

  function refresh() {
    const shown = MODES[editor.mode].layers;
    bar.hidden = !editor.hasPicture && editor.modes.length < 2;
    viewing.hidden = !editor.hasPicture;
    painting.hidden = !editor.hasPicture || !editor.paints;
    modes.refresh();
    layers.refresh();
    layers.node.hidden = shown.length < 2;
    helping.node.hidden = !editor.config.canvas_show_tooltip;
    for (const [name, node] of Object.entries(tools)) node.setAttribute("aria-pressed", String(editor.tool === name));
    fromFile.hidden = masking.node.hidden = editor.layer !== "mask";
    fromFile.classList.toggle("wanted", editor.mode === "inpaint_upload" && editor.isMaskEmpty);
    size.value = editor.size;
    sizeText.textContent = `${editor.size} px`;
    undo.disabled = !editor.document?.nextUndo(shown);
    redo.disabled = !editor.document?.nextRedo(shown);
    colours.refresh();
    if (!editor.hasPicture) colours.element.hidden = true;
  }

  return { element: bar, refresh, remember: colours.remember };
}
