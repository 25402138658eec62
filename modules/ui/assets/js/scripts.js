// The controls of scripts on one tab, drawn from modules/ui/parts/scripts.py's description.

const search = new URL(import.meta.url).search;
const { element, button, icon } = await import(`./dom.js${search}`);
const { drawInput } = await import(`./fields.js${search}`);

const NONE = "None";

export function attachScripts({ tab, scripts, host, props, watch, draftSoon }) {
  const forms = new Map(); // script name → { write(values), read() }
  const selectable = scripts.filter((script) => script.is_selectable);
  const choice = drawInput({ kind: "str", value: NONE, choices: [NONE, ...selectable.map((script) => script.name)] });
  choice.input.id = `${tab}_script_list`;
  const parts = new Map();
  const follows = []; // what has to look again when values were written
  const always = scripts.filter((script) => !script.is_selectable).map((script) => element("details", { class: "always" }, element("summary", {}, script.name), drawScript(script)));
  for (const script of selectable) parts.set(script.name, drawScript(script));
  host.replaceChildren(...always, ...(selectable.length ? [element("label", { class: "choice", htmlFor: choice.input.id }, "Script", choice.input)] : []), ...parts.values());

  function drawScript({ name, arguments: described, swaps }) {
    const fields = new Map();
    const body = element("div", { class: "script" });
    const rows = new Map();
    for (const one of described) {
      const field = drawInput({ ...one, value: one.default });
      field.input.id = `${tab}_script_${name}_${one.name}`.toLowerCase().replace(/[^a-z0-9_]+/g, "_");
      fields.set(one.name, { ...field, described: one });
      const isGroup = field.input.matches(".boxes"); // has a label for each box
      const label = element(isGroup ? "div" : "label", { class: `field ${one.kind === "bool" ? "check" : ""} ${one.is_narrow ? "narrow" : ""}`,
        ...(isGroup ? { role: "group", "aria-label": one.label } : { htmlFor: field.input.id }) },
        ...(one.kind === "bool" ? [field.input, element("span", {}, one.label)] : [element("span", {}, one.label), field.input]));
      const row = one.row ?? (one.kind === "bool" ? "checks" : one.name);
      if (!rows.has(row)) rows.set(row, body.appendChild(element("div", { class: "fields" })));
      rows.get(row).append(label);
      if (one.suggestions) suggest(field, one, fields);
      if (one.lines > 1) takeFiles(field);
    }
    if (swaps.length) {
      body.append(element("div", { class: "fields" }, ...swaps.map(({ label, fields: pairs }) => button(label, label, () => {
        for (const [a, b] of pairs) {
          const [one, other] = [fields.get(a), fields.get(b)];
          const kept = one.read();
          one.write(other.read());
          other.write(kept);
        }
        changed();
      }, { class: "webui-button" }))));
    }
    forms.set(name, {
      read: () => Object.fromEntries([...fields].filter(([, field]) => JSON.stringify(field.read()) !== JSON.stringify(field.described.default)).map(([key, field]) => [key, field.read()])),
      write: (values) => { for (const [key, field] of fields) field.write(values[key] ?? field.described.default); },
    });
    return body;
  }

  // A text of several lines may come from a file: chosen with a button, or dropped on the box.
  function takeFiles(field) {
    const take = async (file) => { field.write((await file.text()).trim()); changed(); };
    const file = element("input", { type: "file", accept: ".txt,.csv,text/*", hidden: true, "aria-label": "Load a text file",
      onchange: () => { if (file.files[0]) take(file.files[0]); file.value = ""; } });
    field.input.closest("label").after(icon("open", "Load a text file", () => file.click(), { class: "fill" }), file);
    field.input.addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) event.preventDefault(); });
    field.input.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files[0]) return;
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
  }

  // Offer the values that belong to another field's choice: one after another while typing, or all at once.
  function suggest(field, { suggestions }, fields) {
    const list = element("datalist", { id: `${field.input.id}_list` });
    const quoted = (value) => (value.includes(",") ? `"${value}"` : value);
    const known = () => suggestions.lists[fields.get(suggestions.by)?.read()] ?? [];
    const all = icon("paste", "Fill in all values", () => { field.write(known().map(quoted).join(", ")); changed(); }, { class: "fill" });
    const by = fields.get(suggestions.by)?.input;
    const follow = () => { all.hidden = !known().length; };
    const offer = () => {
      const before = field.input.value.slice(0, field.input.value.lastIndexOf(",") + 1);
      const left = known().filter((value) => !before.includes(quoted(value)));
      list.replaceChildren(...left.map((value) => element("option", { value: `${before}${before ? " " : ""}${quoted(value)}` }, value)));
    };
    field.input.after(list);
    field.input.closest("label").after(all);
    field.input.setAttribute("list", list.id);
    field.input.addEventListener("focus", offer);
    field.input.addEventListener("input", offer);
    by?.addEventListener("change", follow);
    follows.push(follow);
    follow();
  }

  function show() {
    follows.forEach((follow) => follow());
    for (const [name, part] of parts) part.hidden = choice.read() !== name;
  }

  function changed() {
    show();
    props.value = { script: choice.read(), arguments: Object.fromEntries([...forms].map(([name, form]) => [name, form.read()])) };
    draftSoon();
  }

  function restore() {
    const value = props.value ?? {};
    choice.write(selectable.some((script) => script.name === value.script) ? value.script : NONE);
    for (const [name, form] of forms) form.write(value.arguments?.[name] ?? {});
    show();
  }

  host.addEventListener("input", changed);
  host.addEventListener("change", changed);
  watch("value", restore);
  restore();
}
