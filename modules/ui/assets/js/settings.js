// The Settings tab: all sections of the schema as one list with search; only changed fields are sent.

const search = new URL(import.meta.url).search;
const { element, button, icon, toast } = await import(`./dom.js${search}`);
const { drawInput } = await import(`./fields.js${search}`);
const { drawDefaults, words } = await import(`./settings_defaults.js${search}`);

export async function attachSettings({ host, server, trigger }) {
  const edits = new Map(); // key → { value, field }
  const fields = []; // { key, node, words, section, changed() }
  const { sections, may_change: mayChange } = await server.get_settings({});

  const find = element("input", { type: "search", placeholder: "Search settings", "aria-label": "Search settings", oninput: () => filter() });
  const onlyChanged = element("input", { type: "checkbox", id: "settings_only_changed", onchange: () => filter() });
  const applied = element("output", { class: "applied", role: "status" });
  const apply = button("Apply settings", "Save the changes", () => save(), { id: "settings_submit", class: "webui-button primary", disabled: true });
  const index = element("nav", { "aria-label": "Pages of settings" });
  const list = element("div", { class: "list" });
  host.replaceChildren(element("div", { class: "head" }, apply, find,
    element("label", { htmlFor: "settings_only_changed" }, onlyChanged, " Changed from default only"), applied), element("div", { class: "body" }, index, list));

  for (const section of sections) {
    const part = element("section", { id: `settings_${section.page}_${sections.indexOf(section)}` }, element("h3", {}, section.title));
    for (const setting of section.settings) {
      const field = drawField(setting);
      fields.push({ ...field, section: part, words: `${setting.key} ${setting.label} ${section.title}`.toLowerCase() });
      part.append(field.node);
    }
    list.append(part);
    index.append(button(section.title, section.title, () => part.scrollIntoView({ block: "start" })));
  }

  const defaults = drawDefaults({ server, mayChange });
  list.append(defaults);
  index.append(button("Defaults", "Defaults", () => defaults.scrollIntoView({ block: "start" })));

  function drawField(setting) {
    const { input, read, write } = drawInput(setting);
    let stored = setting.value;
    const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
    const reset = icon("undo", "Back to the default", () => { write(setting.default); edited(); }, { class: "reset" });
    const usual = element("span", { class: "usual", hidden: true }, `Default: ${words(setting.default)}`);
    const node = element("div", { class: "setting" },
      element("label", { htmlFor: input.id }, setting.label,
        element("small", {}, [setting.key, setting.infotext ? `infotext: ${setting.infotext}` : null, setting.reload ? "needs a reload of the page" : null, setting.locked].filter(Boolean).join(" · ")), usual),
      element("span", { class: "control" }, input, setting.value_label ?? null), reset);
    const locked = Boolean(setting.locked) || !mayChange;
    for (const one of input.matches("input, select, textarea") ? [input] : input.querySelectorAll("input")) one.disabled = locked;

    function edited() {
      const value = read();
      if (same(value, stored)) edits.delete(setting.key);
      else edits.set(setting.key, value);
      node.classList.toggle("edited", edits.has(setting.key));
      show();
    }

    function show() {
      usual.hidden = same(read(), setting.default);
      reset.style.visibility = usual.hidden || locked ? "hidden" : "visible";
      apply.disabled = edits.size === 0;
    }

    input.addEventListener("change", edited);
    input.addEventListener("input", edited);
    queueMicrotask(show);
    return { key: setting.key, node, isChanged: () => !same(read(), setting.default), stored: () => { stored = read(); node.classList.remove("edited"); } };
  }

  async function save() {
    const answer = await server.set_settings({ values: Object.fromEntries(edits) });
    if (answer.error) { toast(answer.error, "error"); return; }
    for (const field of fields) if (edits.has(field.key)) field.stored();
    edits.clear();
    trigger("saved", { changed: answer.changed });
    apply.disabled = true;
    applied.textContent = `${answer.changed.length} settings changed${answer.changed.length ? `: ${answer.changed.join(", ")}` : ""}.`;
  }

  function filter() {
    const sought = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const field of fields) field.node.hidden = !sought.every((word) => field.words.includes(word)) || (onlyChanged.checked && !field.isChanged());
    for (const part of list.children) part.hidden = ![...part.querySelectorAll(".setting")].some((node) => !node.hidden);
    defaults.hidden = !sought.every((word) => "defaults".includes(word)) || onlyChanged.checked;
  }
}
