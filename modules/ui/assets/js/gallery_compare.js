// Two pictures against each other: side by side, or one wiped over the other; and in which parameters they differ.

const search = new URL(import.meta.url).search;
const { element, button, icon } = await import(`./dom.js${search}`);
const { at, call } = await import(`./http.js${search}`);

const COMPARED = [["Prompt", "prompt"], ["Negative prompt", "negative_prompt"], ["Model", "model"], ["Sampler", "sampler"], ["Steps", "steps"], ["Seed", "seed"],
  ["Size", (picture) => `${picture.width} × ${picture.height}`]];

// What the infotexts say beyond that: "Key: value" pairs of their last lines.
function parameters(infotext) {
  const line = infotext.split("\n").findLast((one) => /^Steps: /.test(one)) ?? "";
  return new Map([...line.matchAll(/\s*([\w /-]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)/g)].map(([, key, value]) => [key.trim(), value]));
}

function differences(one, other) {
  const rows = COMPARED.map(([title, key]) => [title, ...[one, other].map((picture) => (typeof key === "function" ? key(picture) : picture[key]) ?? "")]);
  const [first, second] = [parameters(one.infotext), parameters(other.infotext)];
  const told = new Set(["Steps", "Sampler", "Seed", "Size", "Model"]);
  for (const key of new Set([...first.keys(), ...second.keys()])) if (!told.has(key)) rows.push([key, first.get(key) ?? "", second.get(key) ?? ""]);
  return rows.filter(([, left, right]) => left !== right);
}

export async function openCompare(ids) {
  const pictures = await Promise.all(ids.map((id) => call(`history/${id}`)));
  const images = pictures.map((picture) => element("img", { src: at(picture.file), alt: picture.name, draggable: false }));
  const line = element("input", { type: "range", min: 0, max: 100, step: 0.1, value: 50, class: "wipe", "aria-label": "Where one picture ends and the other begins",
    oninput: () => box.style.setProperty("--cut", `${line.value}%`) });
  const stage = element("div", { class: "pair" }, element("figure", {}, images[0]), element("figure", {}, images[1]), line);
  const rows = differences(...pictures);
  const table = element("table", {}, element("thead", {}, element("tr", {}, element("th", {}, ""), ...pictures.map((picture) => element("th", {}, picture.name)))),
    element("tbody", {}, ...rows.map(([title, left, right]) => element("tr", {}, element("th", { scope: "row" }, title), element("td", {}, String(left)), element("td", {}, String(right))))));
  const mode = button("Wipe", "Lay one over the other (w)", () => wipe(), { class: "webui-button" });
  const box = element("div", { class: "webui-compare", role: "dialog", "aria-modal": "true", "aria-label": "Compare two pictures", tabIndex: -1 },
    element("div", { class: "tools" }, mode, icon("full", "Zoom (z)", () => box.classList.toggle("zoomed"), { class: "webui-button" }), icon("close", "Close (Esc)", () => close(), { class: "webui-button" })),
    stage, element("div", { class: "differences" }, rows.length ? table : element("p", {}, "Both were made with the same parameters.")));
  const before = document.activeElement;

  function wipe() {
    mode.textContent = box.classList.toggle("wiping") ? "Side by side" : "Wipe";
  }

  function keys(event) {
    const action = { Escape: close, w: wipe, z: () => box.classList.toggle("zoomed") }[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  function close() {
    document.removeEventListener("keydown", keys, true);
    box.remove();
    before?.focus?.();
  }

  // Zoomed pictures move together.
  stage.addEventListener("pointermove", (event) => {
    const { left, top, width, height } = stage.getBoundingClientRect();
    const half = box.classList.contains("wiping") ? width : width / 2;
    box.style.setProperty("--x", `${((((event.clientX - left) % half) / half) * 100).toFixed(2)}%`);
    box.style.setProperty("--y", `${(((event.clientY - top) / height) * 100).toFixed(2)}%`);
  });
  document.addEventListener("keydown", keys, true);
  document.body.append(box);
  box.focus();
}
