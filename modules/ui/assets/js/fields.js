// Controls for values described by the server (settings, arguments of scripts): { input, read(), write(value) }.

const { element } = await import(`./dom.js${new URL(import.meta.url).search}`);

let count = 0;

const HEX = /^#[0-9a-f]{6}$/i;

export function drawInput({ kind, value, minimum, maximum, step, choices, lines, is_colour: isColour }) {
  count += 1;
  const id = `webui_field_${count}`;
  if (kind === "bool") {
    const input = element("input", { type: "checkbox", id, checked: value });
    return { input, read: () => input.checked, write: (next) => { input.checked = next; } };
  }
  if (kind === "list" && choices?.length) {
    const boxes = choices.map((choice) => element("input", { type: "checkbox", checked: value.includes(choice), value: choice }));
    const input = element("span", { id, class: "boxes" }, ...boxes.map((box) => element("label", {}, box, ` ${box.value}`)));
    return { input, read: () => boxes.filter((box) => box.checked).map((box) => box.value), write: (next) => boxes.forEach((box) => { box.checked = next.includes(box.value); }) };
  }
  if (kind === "list") {
    const input = element("input", { type: "text", id, value: value.join(", "), placeholder: "separated by commas" });
    return { input, read: () => input.value.split(",").map((part) => part.trim()).filter(Boolean), write: (next) => { input.value = next.join(", "); } };
  }
  if (kind === "int" || kind === "float") {
    const input = element("input", { type: "number", id, value, min: minimum ?? "", max: maximum ?? "", step: step ?? (kind === "int" ? 1 : "any") });
    return { input, read: () => Number(input.value), write: (next) => { input.value = next; } };
  }
  const read = (input) => () => (input.value === "" && value === null ? null : input.value);
  if (choices?.length) {
    const known = choices.includes(value ?? "") ? choices : [value ?? "", ...choices];
    const input = element("select", { id }, ...known.map((choice) => element("option", { value: choice, selected: choice === (value ?? "") }, choice || "(none)")));
    return { input, read: read(input), write: (next) => { input.value = next ?? ""; } };
  }
  if (isColour && HEX.test(value)) { // a colour that is only a name stays a text
    const input = element("input", { type: "color", id, value });
    return { input, read: () => input.value, write: (next) => { input.value = next; } };
  }
  const input = lines > 1 ? element("textarea", { id, rows: lines, value: value ?? "" }) : element("input", { type: "text", id, value: value ?? "" });
  return { input, read: read(input), write: (next) => { input.value = next ?? ""; } };
}
