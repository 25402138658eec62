// Adding a folder of older pictures to the gallery: asks for it, shows how far it is.

const search = new URL(import.meta.url).search;
const { element, button } = await import(`./dom.js${search}`);
const { call } = await import(`./http.js${search}`);

const ASK_AGAIN_MS = 400;

export function openImport({ host, imported, failed }) {
  const folder = element("input", { type: "text", placeholder: "/home/me/stable-diffusion-webui/outputs", "aria-label": "Folder on the server", spellcheck: false, required: true });
  const progress = element("output", { class: "progress", role: "status" });
  const start = element("button", { type: "submit", class: "webui-button primary" }, "Import");
  const stop = button("Stop", "Stop; what was added stays", () => call("history/import/stop", {}).catch(failed), { class: "webui-button" });
  const form = element("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); begin(); } },
    element("h3", {}, "Import a folder"),
    element("p", {}, "Every picture below the folder is added to the gallery where it lies, with the prompt in its metadata. Files are neither copied nor changed. Importing the same folder again adds what is new."),
    element("label", {}, "Folder on the computer that runs this program", folder), progress,
    element("div", { class: "buttons" }, start, stop, button("Close", "Close", () => dialog.close(), { class: "webui-button" })));
  const dialog = element("dialog", { class: "webui-dialog", onclose: () => { clearTimeout(timer); dialog.remove(); } }, form);
  let timer = 0;

  async function begin() {
    try {
      show(await call("history/import", { folder: folder.value }));
      watch();
    } catch (error) {
      progress.textContent = error.message;
    }
  }

  function show({ running, seen, added, unreadable, error, folder: name }) {
    start.disabled = running;
    stop.hidden = !running;
    if (!name) return;
    if (!folder.value) folder.value = name;
    const bad = unreadable ? `, ${unreadable} cannot be read as pictures` : "";
    progress.textContent = error || `${running ? "Looking at files" : "Done"}: ${seen.toLocaleString()} seen, ${added.toLocaleString()} added${bad}.`;
  }

  async function watch() {
    try {
      const state = await call("history/import");
      show(state);
      if (state.running) timer = setTimeout(watch, ASK_AGAIN_MS);
      else if (state.folder) imported();
    } catch (error) {
      failed(error);
    }
  }

  show({ running: false });
  host.append(dialog);
  dialog.showModal();
  watch();
}
