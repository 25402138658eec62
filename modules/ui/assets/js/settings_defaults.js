// Settings, Defaults: what the page shows where nobody has chosen anything (modules/ui/defaults.py).

const { element, button, toast } = await import(`./dom.js${new URL(import.meta.url).search}`);

// A value in words. White space alone, such as a separator of texts, is shown in quotes.
export const words = (value) => (typeof value === "string" && value && !value.trim() ? JSON.stringify(value) : value === "" || value === null || (Array.isArray(value) && !value.length) ? "(empty)" : value === true ? "on" : value === false ? "off" : Array.isArray(value) ? value.join(", ") : String(value));

// The section; `mayChange` says whether the defaults, which are everybody's, may be set here.
export function drawDefaults({ server, mayChange }) {
  const table = element("div", { class: "defaults" });
  const look = button("Show what differs", "Compare the values on the page with the defaults", () => show(), { id: "settings_defaults_view", class: "webui-button" });
  const keep = button("Make these the defaults", "Show the values of txt2img, img2img and inpaint to everybody who opens the page anew", () => save(), { id: "settings_defaults_apply", class: "webui-button", disabled: !mayChange });
  const back = button("Put the defaults into the page", "Forget what was typed and chosen on this page", () => reset(), { id: "settings_defaults_reset", class: "webui-button" });
  const part = element("section", { id: "settings_defaults" }, element("h3", {}, "Defaults"),
    element("p", {}, "The values with which txt2img, img2img and inpaint open in a new browser."),
    element("div", { class: "buttons" }, look, keep, back), table);

  async function show() {
    const { changes } = await server.page_defaults({});
    const cell = (tag, text, properties = {}) => element(tag, properties, text);
    table.replaceChildren(changes.length
      ? element("table", {}, element("thead", {}, element("tr", {}, ...["Tab", "Value", "Default", "On the page"].map((text) => cell("th", text, { scope: "col" })))),
        element("tbody", {}, ...changes.map((row) => element("tr", {}, cell("td", row.tab), cell("td", row.label), cell("td", words(row.default), { "data-user": "" }), cell("td", words(row.value), { "data-user": "" })))))
      : element("p", {}, "The page shows the defaults."));
  }

  async function save() {
    const answer = await server.save_defaults({});
    if (answer.error) { toast(answer.error, "error"); return; }
    toast("These are the defaults now.");
    await show();
  }

  async function reset() {
    if (!confirm("Forget the prompts and values on this page?")) return;
    await server.forget_draft({});
    window.webui.forgetsDraft();
    location.reload();
  }

  return part;
}
