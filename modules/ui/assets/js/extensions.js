// The Extensions tab: what there is, what it brings, what went wrong; installing, updating, removing, saved states.
// Whatever is changed here takes effect at the next start.

const { element, button, toast } = await import(`./dom.js${new URL(import.meta.url).search}`);

export async function attachExtensions({ host, server }) {
  const save = button("Apply", "Keep which extensions are switched on", apply, { id: "extensions_apply", class: "webui-button primary", disabled: true });
  const look = button("Check for updates", "Ask where the clones came from; this uses the network", check, { id: "extensions_check", class: "webui-button" });
  const note = element("p", { class: "note", role: "status" });
  const list = element("ul", {});
  const arrived = element("p", { class: "arrived", role: "status", hidden: true });
  const field = (label, id, placeholder) => {
    const input = element("input", { type: "text", id, placeholder });
    return { input, node: element("div", { class: "field" }, element("label", { htmlFor: id }, label), input) };
  };
  const source = field("Git address, folder or zip file", "extensions_source", "https://…/name.git, or a path on the server's machine");
  const branch = field("Branch", "extensions_branch", "empty: its default");
  const name = field("Name", "extensions_name", "empty: its own");
  const add = button("Install", "Fetch it; this uses the network for a git address", install, { id: "extensions_install", class: "webui-button" });
  const installing = element("fieldset", {}, element("div", { class: "asks" }, source.node, branch.node, name.node, add));
  const stateName = field("Save the present state as", "extensions_state_name", "Config");
  const keep = button("Save", "Which extensions there are, which are on, at which commit", saveState, { id: "extensions_state_save", class: "webui-button" });
  const saved = element("ul", { class: "states" });
  const states = element("fieldset", {}, element("div", { class: "asks two" }, stateName.node, keep), saved);
  const reason = element("p", { class: "note" });
  host.replaceChildren(element("div", { class: "head" }, save, look, note), arrived, list,
    element("section", { class: "install" }, element("h3", {}, "Install"), reason, installing),
    element("section", {}, element("h3", {}, "Backup and restore"), states));
  let found = [];
  let news = {}; // name → what its origin has, in words
  let mayInstall = false;

  async function refresh() {
    const answer = await server.extensions({});
    const rank = (one) => (one.problem ? 0 : one.is_builtin ? 2 : 1);
    found = answer.extensions.sort((one, other) => rank(one) - rank(other));
    mayInstall = !answer.why_not;
    reason.textContent = mayInstall ? "" : `${answer.why_not[0].toUpperCase()}${answer.why_not.slice(1)}.`;
    reason.hidden = mayInstall;
    installing.disabled = states.disabled = look.disabled = !mayInstall;
    arrived.hidden = !answer.new.length;
    arrived.textContent = `Installed: ${answer.new.join(", ")}. Restart the program to load what is new.`;
    drawStates(answer.states);
    draw(answer.may_change);
  }

  function draw(mayChange) {
    list.replaceChildren(...found.map((extension) => {
      const id = `extension_${extension.name}`;
      const box = element("input", { type: "checkbox", id, checked: extension.is_wanted, disabled: !mayChange, onchange: () => { extension.is_wanted = box.checked; save.disabled = false; } });
      const state = !extension.is_there ? "off" : extension.problem ? "failed" : extension.is_active ? "on" : "off";
      const told = news[extension.name] ?? "";
      const acts = mayInstall && !extension.is_builtin && extension.is_there ? [
        told.endsWith("behind") ? button("Update", `Bring ${extension.name} to the newest commit of its branch`, () => act("update", extension), { class: "webui-button" }) : null,
        button("Remove", `Take ${extension.name} out; its folder is kept in extensions/.removed`, () => act("remove", extension), { class: "webui-button" }),
      ] : [];
      return element("li", { class: state },
        box,
        element("div", { class: "words" },
          element("label", { htmlFor: id }, extension.name, extension.is_builtin ? element("small", {}, "built in") : null),
          extension.about ? element("p", {}, extension.about) : null,
          extension.scripts.length ? element("p", { class: "brings" }, `Scripts: ${extension.scripts.join(", ")}`) : null,
          extension.problem ? element("p", { class: "problem", role: "alert" }, `Switched off because it failed: ${extension.problem}`) : null,
          extension.remote ? element("p", { class: "folder" }, `${extension.remote} · ${extension.branch || "no branch"} · ${extension.version}`) : null,
          told ? element("p", { class: "news", role: "status" }, told === "latest" ? "Up to date" : told.endsWith("behind") ? `${told.split(" ")[0]} newer commits` : told) : null,
          extension.folder && !extension.is_builtin ? element("p", { class: "folder" }, extension.folder) : null),
        element("div", { class: "side" }, element("span", { class: "state" }, extension.is_there ? { on: "running", off: "off", failed: "failed" }[state] : "removed"), ...acts));
    }));
    if (!found.length) list.replaceChildren(element("li", {}, "There are none. Put a folder with an extension.py into extensions/."));
    note.textContent = waits() ? "Restart the program to apply what is switched." : mayChange ? "" : "Only the administrator may switch extensions.";
  }

  function drawStates(kept) {
    saved.replaceChildren(...kept.map((state) => element("li", {},
      element("span", { class: "words" }, element("strong", {}, state.name), ` ${new Date(state.created * 1000).toLocaleString()} · ${state.count} extensions`),
      button("Restore", `Switches and commits as they were in ${state.name}`, () => restore(state), { class: "webui-button" }))));
  }

  const waits = () => found.some((extension) => !extension.problem && (!extension.is_there || extension.is_wanted !== extension.is_active));

  // Ask the server while `control` shows that something is going on; null when it failed, and why is said.
  async function ask(what, values, control) {
    const label = control?.textContent;
    if (control) { control.disabled = true; control.textContent = `${label} …`; }
    try {
      const answer = await server[what](values);
      if (answer.error) { toast(answer.error, "error"); return null; }
      return answer;
    } finally {
      if (control) { control.disabled = false; control.textContent = label; }
    }
  }

  async function apply() {
    if (!(await ask("switch", { off: found.filter((extension) => !extension.is_wanted).map((extension) => extension.name) }))) return;
    save.disabled = true;
    await refresh();
  }

  async function install() {
    const answer = await ask("install", { source: source.input.value, branch: branch.input.value, name: name.input.value }, add);
    if (!answer) return;
    for (const one of [source, branch, name]) one.input.value = "";
    toast(`Installed ${answer.installed}`);
    await refresh();
  }

  async function check() {
    const answer = await ask("check_updates", {}, look);
    if (!answer) return;
    news = answer.updates;
    if (!Object.keys(news).length) toast("No extension here is a clone that could be updated");
    await refresh();
  }

  async function act(what, extension) {
    const answer = await ask(what, { name: extension.name });
    if (!answer) return;
    delete news[extension.name];
    toast(what === "update" ? `${extension.name} is at ${answer.version} now` : `${extension.name} is out; its folder is kept in extensions/.removed`);
    await refresh();
  }

  async function saveState() {
    if (await ask("save_state", { name: stateName.input.value || "Config" }, keep)) { stateName.input.value = ""; await refresh(); }
  }

  async function restore(state) {
    const answer = await ask("restore_state", { file: state.file });
    if (!answer) return;
    toast(answer.problems.length ? answer.problems.join("; ") : `Restored ${state.name}`, answer.problems.length ? "error" : undefined);
    await refresh();
  }

  await refresh();
  new IntersectionObserver(([entry]) => { if (entry.isIntersecting && save.disabled) refresh(); }).observe(host);
}
