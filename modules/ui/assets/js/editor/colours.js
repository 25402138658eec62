// The colour of the brush: a picker, ready colours, those used last, and how much of the picture shines through.

const { element, icon } = await import(`../dom.js${new URL(import.meta.url).search}`);

const READY = { Black: "#000000", Grey: "#808080", White: "#ffffff", Red: "#e02020", Orange: "#f08a1d", Yellow: "#f7d917", Green: "#2f9e44", Cyan: "#22b8cf",
  Blue: "#1c5fd6", Violet: "#7b3fbf", Pink: "#e64980", Brown: "#7a4a21" };
const RECENT = 4;

export function createColours(editor) {
  const picker = element("input", { type: "color", class: "webui-colour", title: "Colour of the brush", "aria-label": "Colour of the brush",
    oninput: () => editor.setColour(picker.value) });
  const swatch = (colour, name) => element("button", { type: "button", class: "swatch", title: name, "aria-label": name, style: `--colour: ${colour}`,
    onclick: () => editor.setColour(colour) });
  const recent = element("span", { class: "swatches recent", role: "group", "aria-label": "Colours used last" });
  const opacity = element("input", { type: "range", min: 5, max: 100, step: 5, title: "How much the paint covers", "aria-label": "Opacity of the paint",
    oninput: () => { editor.setPaintOpacity(Number(opacity.value)); } });
  const dropper = icon("eyedropper", "Take a colour from the picture (I, or Alt and click)", () => editor.setTool("eyedropper"));
  const node = element("div", { class: "webui-colours", role: "group", "aria-label": "Colour" }, picker, dropper,
    element("span", { class: "swatches" }, ...Object.entries(READY).map(([name, colour]) => swatch(colour, name))), recent,
    element("label", { class: "webui-slider" }, "Opacity", opacity));
  let used = [];

  function refresh() {
    node.hidden = editor.layer !== "sketch";
    picker.value = editor.colour;
    opacity.value = editor.paintOpacity;
    dropper.setAttribute("aria-pressed", String(editor.tool === "eyedropper"));
    for (const one of node.querySelectorAll(".swatch")) one.setAttribute("aria-pressed", String(one.style.getPropertyValue("--colour") === editor.colour));
  }

  // A colour was painted with: keep it at hand unless it is a ready one.
  function remember(colour) {
    if (Object.values(READY).includes(colour) || used.includes(colour)) return;
    used = [colour, ...used].slice(0, RECENT);
    recent.replaceChildren(...used.map((one) => swatch(one, one)));
    refresh();
  }

  return { element: node, refresh, remember };
}
