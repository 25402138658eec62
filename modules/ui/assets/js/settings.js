// The Settings tab: all sections of the schema as one list with search; only changed fields are sent.

const search = new URL(import.meta.url).search;
const { element, button, icon, toast } = await import(`./dom.js${search}`);
const { drawInput } = await import(`./fields.js${search}`);
const { drawDefaults, words } = await import(`./settings_defaults.js${search}`);

export async function attachSettings({ host, server, trigger }) {
  const edits = new Map(); // key → { value, field }
  const fields = []; // { key, node, words, isIdle, isChanged(), stored() }
  const { sections, may_change: mayChange } = await server.get_settings({});

  const find = element("input", { type: "search", placeholder: "Search settings", "aria-label": "Search settings", oninput: () => filter() });
  const onlyChanged = element("input", { type: "checkbox", id: "settings_only_changed", onchange: () => filter() });
  const onlyInUse = element("input", { type: "checkbox", id: "settings_only_in_use", onchange: () => filter() });
  const applied = element("output", { class: "applied", role: "status" });
  const waiting = element("output", { class: "waiting", role: "status" });
  const apply = button("Apply settings", "Save the changes", () => save(), { id: "settings_submit", class: "webui-button primary", disabled: true });
  const index = element("nav", { "aria-label": "Pages of settings" });
  const list = element("div", { class: "list" });
  host.replaceChildren(element("div", { class: "head" }, element("span", { class: "apply" }, apply, waiting), find,
    element("label", { htmlFor: "settings_only_changed" }, onlyChanged, " Changed from default only"),
    element("label", { htmlFor: "settings_only_in_use" }, onlyInUse, " With an effect only"), applied), element("div", { class: "body" }, index, list));

  for (const section of sections) {
    const reasons = new Set(section.settings.map((setting) => setting.no_effect));
    const all = reasons.size === 1 ? [...reasons][0] : ""; // why the whole page has no effect: said once
    const part = element("section", { id: `settings_${section.page}_${sections.indexOf(section)}` }, element("h3", {}, section.title), all ? idleNote(all) : null);
    for (const setting of section.settings) {
      const field = drawField(setting, !all);
      const idle = setting.no_effect ? `no effect ${setting.no_effect}` : "";
      fields.push({ ...field, isIdle: Boolean(idle), words: `${setting.key} ${setting.label} ${section.title} ${idle}`.toLowerCase() });
      part.append(field.node);
    }
    list.append(part);
    index.append(button(section.title, section.title, () => part.scrollIntoView({ block: "start" }), { class: all ? "is-idle" : "" }));
  }

  const defaults = drawDefaults({ server, mayChange });
  list.append(defaults);
  index.append(button("Defaults", "Defaults", () => defaults.scrollIntoView({ block: "start" })));

  function idleNote(why) { return element("span", { class: "idle" }, element("b", {}, "No effect"), element("span", {}, why)); }

  function drawField(setting, saysWhy) {
    const { input, read, write } = drawInput(setting);
    let stored = setting.value;
    const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
    const reset = icon("undo", "Back to the default", () => { write(setting.default); edited(); }, { class: "reset" });
    const usual = element("span", { class: "usual", hidden: true }, `Default: ${words(setting.default)}`);
    const idle = setting.no_effect && saysWhy ? idleNote(setting.no_effect) : null;
    const node = element("div", { class: setting.no_effect ? "setting is-idle" : "setting" },
      element("label", { htmlFor: input.id }, setting.label,
        element("small", {}, [setting.key, setting.infotext ? `infotext: ${setting.infotext}` : null, setting.reload ? "needs a reload of the page" : null, setting.locked].filter(Boolean).join(" · ")), idle, usual),
      element("span", { class: "control" }, input, setting.value_label ?? null), reset);
    const locked = Boolean(setting.locked || setting.no_effect) || !mayChange;
    for (const one of input.matches("input, select, textarea") ? [input] : input.querySelectorAll("input")) one.disabled = locked;

    function edited() {
      const value = read();
      if (same(value, stored)) edits.delete(setting.key);
      else edits.set(setting.key, value);
      node.classList.toggle("edited", edits.has(setting.key));
      show();
      count();
    }

    function show() {
      usual.hidden = same(read(), setting.default);
      reset.style.visibility = usual.hidden || locked ? "hidden" : "visible";
    }

    input.addEventListener("change", edited);
    input.addEventListener("input", edited);
    queueMicrotask(show);
    return { key: setting.key, node, isChanged: () => !same(read(), setting.default), stored: () => { stored = read(); node.classList.remove("edited"); } };
  }

  function count() {
    const { size } = edits;
    apply.disabled = size === 0;
    waiting.textContent = size === 0 ? "" : size === 1 ? "1 change not applied" : `${size} changes not applied`;
    if (size) applied.textContent = "";
    document.getElementById("tab_settings-button")?.toggleAttribute("data-unsaved", size > 0); // seen from other tabs
  }

  window.addEventListener("beforeunload", (event) => { if (edits.size) event.preventDefault(); }); // the browser asks

  async function save() {
    const answer = await server.set_settings({ values: Object.fromEntries(edits) });
    if (answer.error) { toast(answer.error, "error"); return; }
    for (const field of fields) if (edits.has(field.key)) field.stored();
    edits.clear();
    count();
    trigger("saved", { changed: answer.changed });
    applied.textContent = `${answer.changed.length} settings changed${answer.changed.length ? `: ${answer.changed.join(", ")}` : ""}.`;
  }

  function filter() {
    const sought = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const field of fields) {
      const said = `${field.words} ${field.node.querySelector("label").textContent.toLowerCase()}`; // in English and as the page shows it
      field.node.hidden = !sought.every((word) => said.includes(word)) || (onlyChanged.checked && !field.isChanged()) || (onlyInUse.checked && field.isIdle);
    }
    for (const part of list.children) part.hidden = ![...part.querySelectorAll(".setting")].some((node) => !node.hidden);
    defaults.hidden = !sought.every((word) => "defaults".includes(word)) || onlyChanged.checked;
  }
}
