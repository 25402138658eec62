// The Extras tab's form: pictures in, what is done to them, and the job it makes. Results are the live panel's matter.

const search = new URL(import.meta.url).search;
const { element, icon, debounce, toast } = await import(`./dom.js${search}`);
const { drawInput } = await import(`./fields.js${search}`);

const DRAFT = "extras";
const DEFAULTS = { upscaler: "Lanczos", second: "None", second_visibility: 0.5, mode: "by", factor: 4, max_side: 0, width: 512, height: 512, crop: true };

let count = 0;

// A label with a slider and a number that follow each other: { node, read(), write(value) }.
function slider(label, { min, max, step, value }, changed) {
  const id = `extras_field_${count += 1}`;
  const range = element("input", { type: "range", min, max, step, value, "aria-label": label });
  const number = element("input", { type: "number", id, min, max, step, value });
  range.addEventListener("input", () => { number.value = range.value; changed(); });
  number.addEventListener("input", () => { range.value = number.value; changed(); });
  const node = element("div", { class: "slider" }, element("label", { htmlFor: id }, label), number, range);
  return { node, read: () => Math.min(max, Math.max(min, Number(number.value) || min)), write: (next) => { number.value = next; range.value = next; } };
}

function choice(label, id, changed) {
  const input = element("select", { id, onchange: changed });
  const node = element("div", { class: "choice" }, element("label", { htmlFor: id }, label), input);
  const offer = (names) => {
    const kept = input.value;
    input.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    if (names.includes(kept)) input.value = kept;
  };
  return { node, offer, read: () => input.value, write: (next) => { if ([...input.options].some((one) => one.value === next)) input.value = next; } };
}

// An operation of the server's description: a fold with a switch, { node, part, read() (null when off), write(value) }.
// One that has a `problem` cannot be switched on, and says why.
function operation({ name, part, fields: described, problem }, changed) {
  const id = `extras_${part}`;
  const on = element("input", { type: "checkbox", id, "aria-label": name, disabled: Boolean(problem), onchange: () => { if (on.checked) fold.open = true; changed(); } });
  const fields = described.map((one) => ({ ...one, ...drawInput({ ...one, value: one.default }) }));
  const labels = fields.map((field) => element("label", { class: field.kind === "bool" ? "check" : "choice", htmlFor: field.input.id },
    ...(field.kind === "bool" ? [field.input, element("span", {}, field.label)] : [element("span", {}, field.label), field.input])));
  // The switch stands beside the fold's heading: one control inside another cannot be reached by everybody.
  const fold = element("details", { id: `${id}_fold` }, element("summary", {}, name), ...(problem ? [element("p", { class: "problem" }, problem)] : []),
    element("div", { class: "grid" }, ...labels));
  const node = element("div", { class: "operation" }, on, fold);
  fields.forEach((field) => field.input.addEventListener("change", () => changed()));
  const values = () => Object.fromEntries(fields.map((field) => [field.name, field.read()]));
  return {
    node, part,
    read: () => (on.checked ? values() : null),
    keep: () => ({ on: on.checked, values: values() }),
    write: (kept) => {
      on.checked = Boolean(kept?.on) && !problem;
      fold.open = on.checked;
      for (const field of fields) field.write(kept?.values?.[field.name] ?? field.default);
    },
  };
}

const KINDS = ["single", "batch", "folder"];
const KIND_LABELS = ["Single Image", "Batch Process", "Batch from Directory"];

export async function attachExtras({ host, server, bridge, panels, pictures, waiting, steer }) {
  let entries = []; // { sha256, name, width, height, url }
  let kind = "single";
  let mode = "by";
  let operations = [];
  let hasUpscale = true;
  const isBatch = () => kind === "batch";

  const file = element("input", { type: "file", accept: "image/*", hidden: true, multiple: true, class: "webui-extras-file", "aria-label": "Choose pictures",
    onchange: () => { take([...file.files]); file.value = ""; } });
  const tabs = KINDS.map((one, place) => element("button", { type: "button", role: "tab", onclick: () => { setKind(one); changed(); } }, KIND_LABELS[place]));
  const generate = element("button", { type: "button", id: "extras_generate", class: "webui-button primary", onclick: submit }, "Generate");
  const steering = element("div", { class: "steer" });
  const image = element("img", { alt: "", hidden: true });
  const hint = element("span", { class: "hint" });
  const zone = element("button", { type: "button", class: "zone", "aria-label": "Choose pictures", onclick: () => file.click() }, hint, image);
  const list = element("ul", { class: "batch", "aria-label": "Pictures of the batch" });
  const facts = element("p", { class: "facts", role: "status" });
  const input = element("input", { type: "text", id: "extras_batch_input_dir", oninput: () => changed(), placeholder: "a folder on the machine that the server runs on" });
  const output = element("input", { type: "text", id: "extras_batch_output_dir", oninput: () => changed(), placeholder: "empty: the folder of the settings" });
  const shows = element("input", { type: "checkbox", id: "extras_show_extras_results", checked: true, onchange: () => changed() });
  const folder = element("div", { class: "folder" },
    element("div", { class: "choice" }, element("label", { htmlFor: input.id }, "Input directory"), input),
    element("div", { class: "choice" }, element("label", { htmlFor: output.id }, "Output directory"), output),
    element("label", { class: "check", htmlFor: shows.id }, shows, " Show result images"));
  const clear = icon("trash", "Take all pictures out", () => { entries = []; changed(); });

  const modes = ["by", "to"].map((one) => element("button", { type: "button", role: "tab", onclick: () => { setMode(one); changed(); } }, `Scale ${one}`));
  const upscaler = choice("Upscaler 1", "extras_upscaler_1", () => { if (bridge.config.set_scale_by_when_changing_upscaler) takeFactor(); changed(); });
  const second = choice("Upscaler 2", "extras_upscaler_2", changed);
  const visibility = slider("Upscaler 2 visibility", { min: 0, max: 1, step: 0.01, value: DEFAULTS.second_visibility }, changed);
  const factor = slider("Resize", { min: 1, max: 8, step: 0.05, value: DEFAULTS.factor }, changed);
  const maxSide = slider("Max side length (0: no limit)", { min: 0, max: 16384, step: 8, value: 0 }, changed);
  const width = slider("Width", { min: 64, max: 8192, step: 8, value: DEFAULTS.width }, changed);
  const height = slider("Height", { min: 64, max: 8192, step: 8, value: DEFAULTS.height }, changed);
  const crop = element("input", { type: "checkbox", id: "extras_upscaling_crop", checked: true, onchange: changed });
  const swap = icon("swap", "Swap width and height", () => { const kept = width.read(); width.write(height.read()); height.write(kept); changed(); });
  const refresh = icon("refresh", "Look for new upscalers", () => offer({ refresh: true }));
  const by = element("div", { class: "grid" }, factor.node, maxSide.node);
  const to = element("div", { class: "to" }, element("div", { class: "sizes" }, width.node, height.node), swap,
    element("label", { class: "check", htmlFor: crop.id }, crop, " Crop to fit"));
  const upscale = element("section", {}, element("h3", {}, "Upscale", element("div", { class: "segments", role: "tablist", "aria-label": "How far" }, ...modes), refresh),
    by, to, element("div", { class: "grid" }, upscaler.node, second.node), visibility.node);
  const others = element("div", { class: "operations" });

  host.replaceChildren(file,
    element("div", { class: "head" }, element("div", { class: "segments", role: "tablist", "aria-label": "What to work on" }, ...tabs), clear,
      element("div", { class: "go" }, generate, steering)),
    element("div", { class: "source" }, zone, facts), list, folder, upscale, others);
  steer(steering);

  // The factor that an upscaler's name tells: "4x-UltraSharp", "R-ESRGAN 4x+", "DAT x2".
  function takeFactor() {
    const [, before, after] = upscaler.read().match(/(\d)x|x(\d)/i) ?? [];
    if (before || after) { factor.write(Number(before ?? after)); setMode("by"); }
  }

  // ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────

  async function take(files) {
    const found = files.filter((one) => one.type.startsWith("image/"));
    if (!found.length) return;
    if (found.length > 1) setKind("batch");
    else if (kind === "folder") setKind("single");
    for (const one of isBatch() ? found : found.slice(0, 1)) {
      try {
        const url = URL.createObjectURL(one);
        const size = await measure(url);
        const entry = { sha256: await bridge.putPicture(one), name: one.name ?? "", ...size, url };
        entries = isBatch() ? [...entries, entry] : [entry];
      } catch (error) {
        toast(error.message || "not a picture", "error");
      }
    }
    changed();
  }

  function measure(url) {
    return new Promise((resolve, reject) => {
      const probe = new Image();
      probe.onload = () => resolve({ width: probe.naturalWidth, height: probe.naturalHeight });
      probe.onerror = () => reject(new Error("this file is not a picture that the browser can show"));
      probe.src = url;
    });
  }

  host.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  host.addEventListener("dragleave", () => zone.classList.remove("over"));
  host.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take([...event.dataTransfer.files]); });

  // Pasting and "send to" treat this form like any other source of a picture.
  pictures.set("extras_image", { root: host, get hasPicture() { return entries.length > 0; }, load: (blob) => { if (!isBatch()) entries = []; return take([blob]); } });

  // ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────

  const values = () => ({ upscaler: hasUpscale ? upscaler.read() : "None", second: second.read(), second_visibility: second.read() === "None" ? 0 : visibility.read(), mode,
    factor: factor.read(), max_side: Math.round(maxSide.read()), width: Math.round(width.read()), height: Math.round(height.read()), crop: crop.checked });

  function setKind(one) {
    kind = one;
    if (kind === "single") entries = entries.slice(0, 1);
  }

  function setMode(one) { mode = one; }

  const keep = debounce(500, () => bridge.putDocument(DRAFT, { kind, values: { ...values(), upscaler: upscaler.read() },
    folder: { input: input.value, output: output.value, shows: shows.checked }, operations: Object.fromEntries(operations.map((one) => [one.part, one.keep()])), visibility: visibility.read(), entries: entries.map(({ url, ...entry }) => entry) }));

  function changed() { draw(); keep(); }

  // The size that a picture will have, as modules/upscaling/mixing.py computes it.
  function target({ width: w, height: h }) {
    const asked = values();
    const down = (side) => Math.floor(side / 8) * 8;
    if (asked.mode === "to") {
      if (asked.crop) return [asked.width, asked.height];
      const scale = Math.max(asked.width / w, asked.height / h);
      return [down(w * scale), down(h * scale)];
    }
    const longest = Math.max(w, h);
    const scale = asked.max_side && longest * asked.factor > asked.max_side ? asked.max_side / longest : asked.factor;
    return [down(w * scale), down(h * scale)];
  }

  function draw() {
    tabs.forEach((tab, place) => tab.setAttribute("aria-selected", String(kind === KINDS[place])));
    modes.forEach((tab, place) => tab.setAttribute("aria-selected", String(mode === ["by", "to"][place])));
    by.hidden = mode !== "by";
    to.hidden = mode !== "to";
    visibility.node.hidden = second.read() === "None";
    const [first] = entries;
    const single = kind === "single" ? first : null;
    folder.hidden = kind !== "folder";
    zone.hidden = kind === "folder";
    image.hidden = !single?.url;
    if (single?.url) image.src = first.url;
    hint.textContent = isBatch() ? "Drop or click to add pictures" : "Drop, paste or click to choose a picture";
    hint.hidden = Boolean(single);
    zone.classList.toggle("small", isBatch());
    list.hidden = !isBatch() || !entries.length;
    list.replaceChildren(...(isBatch() ? entries : []).map((entry) => element("li", {},
      element("img", { src: entry.url ?? "", alt: "" }), element("span", { class: "name" }, entry.name || "(no name)"),
      element("span", { class: "size" }, `${entry.width} × ${entry.height}`),
      icon("close", `Take ${entry.name || "this picture"} out`, () => { entries = entries.filter((one) => one !== entry); changed(); }))));
    const isOff = values().upscaler === "None";
    facts.hidden = kind === "folder";
    facts.textContent = !first ? "" : isBatch() ? `${entries.length} ${entries.length === 1 ? "picture" : "pictures"}`
      : isOff ? `${first.width} × ${first.height}` : `${first.width} × ${first.height} → ${target(first).join(" × ")}`;
    clear.style.visibility = entries.length && kind !== "folder" ? "visible" : "hidden";
    generate.disabled = kind === "folder" ? !input.value.trim() : !entries.length;
  }

  // ── asking the server ───────────────────────────────────────────────────────────────────────────────────────────

  async function offer(asked = {}) {
    const offered = await server.offers(asked);
    upscaler.offer(offered.upscalers);
    second.offer(offered.upscalers);
    const kept = new Map(operations.map((one) => [one.part, one.keep()]));
    hasUpscale = offered.operations.some((one) => one.part === "upscale");
    upscale.hidden = !hasUpscale;
    operations = offered.operations.filter((one) => one.part !== "upscale").map((one) => operation(one, changed));
    for (const one of operations) if (kept.has(one.part)) one.write(kept.get(one.part));
    others.replaceChildren(...operations.map((one) => one.node));
  }

  async function submit() {
    const asked = { upscale: values(), ...Object.fromEntries(operations.map((one) => [one.part, one.read()])) };
    if (kind === "folder") asked.folder = { input: input.value, output: output.value, shows: shows.checked };
    else Object.assign(asked, { pictures: entries.map(({ sha256, name }) => ({ sha256, name })), is_batch: isBatch() });
    const answer = await server.submit(asked);
    if (answer.error) panels.get("extras").say(answer.error, "error");
    else panels.get("extras").show({ submitted: answer.job });
  }

  async function restore() {
    const kept = (await bridge.getDocument(DRAFT)) ?? {};
    const last = { ...DEFAULTS, ...kept.values };
    upscaler.write(last.upscaler);
    second.write(last.second);
    visibility.write(kept.visibility ?? DEFAULTS.second_visibility);
    factor.write(last.factor);
    maxSide.write(last.max_side);
    width.write(last.width);
    height.write(last.height);
    crop.checked = last.crop;
    mode = last.mode;
    kind = KINDS.includes(kept.kind) ? kept.kind : "single";
    input.value = kept.folder?.input ?? "";
    output.value = kept.folder?.output ?? "";
    shows.checked = kept.folder?.shows ?? true;
    for (const one of operations) one.write(kept.operations?.[one.part]);
    for (const entry of kept.entries ?? []) {
      const blob = await bridge.getPicture(entry.sha256);
      if (blob) entries.push({ ...entry, url: URL.createObjectURL(blob) });
    }
  }

  await offer();
  await restore();
  draw();
  const delivered = waiting.get("extras_image");
  waiting.delete("extras_image");
  if (delivered) await pictures.get("extras_image").load(delivered);
}

