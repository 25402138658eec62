// Page-wide shortcuts (behaviour reference 8.5): Ctrl+Enter generates, Alt+Enter skips, Esc interrupts.

const search = new URL(import.meta.url).search;
const { interrupt, skip } = await import(`./steering.js${search}`);

const GENERATION_TABS = ["txt2img", "img2img", "inpaint"];

// The generation tab on show, or null.
function tabOnShow() {
  return GENERATION_TABS.find((tab) => document.getElementById(`${tab}_generate`)?.offsetParent) ?? null;
}

export function watchKeys({ panels, feed, pictures }) {
  document.addEventListener("keydown", (event) => {
    const tab = tabOnShow();
    if (!tab || event.defaultPrevented) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      document.getElementById(`${tab}_generate`).click();
    } else if (event.key === "Enter" && event.altKey) {
      event.preventDefault();
      skip(panels.get(tab), feed);
    } else if (event.key === "Escape" && !event.target.closest?.("[aria-expanded=true], details[open]")) {
      interrupt(panels.get(tab), feed, window.webui.config);
    }
  });
  // A pasted picture goes to the first empty source on show, else the first.
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    const shown = [...pictures.values()].filter((editor) => editor.root.offsetParent);
    if (!file || !shown.length) return;
    event.preventDefault();
    (shown.find((editor) => !editor.hasPicture) ?? shown[0]).load(file);
  });
}
