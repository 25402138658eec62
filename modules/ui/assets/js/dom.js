// Small helpers to build elements. Text only ever goes in as textContent: a prompt is never HTML.

export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(text, title, onclick, properties = {}) {
  return element("button", { type: "button", title, "aria-label": title, onclick, ...properties }, text);
}

// A button that shows an icon of assets/icons.css; `title` is its name for everyone.
export function icon(name, title, onclick, properties = {}) {
  return button("", title, onclick, { ...properties, class: `wicon wicon-${name} ${properties.class ?? ""}` });
}

export const isTyping = (target) => Boolean(target?.closest?.("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, [contenteditable=true]"));

export function debounce(wait, run) {
  let timer = 0;
  const soon = (...values) => { clearTimeout(timer); timer = setTimeout(() => { timer = 0; run(...values); }, wait); };
  soon.now = (...values) => { clearTimeout(timer); timer = 0; return run(...values); };
  soon.isPending = () => timer !== 0;
  return soon;
}

export function blobToBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

export function base64ToBlob(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes]);
}

// A short message at the edge of the page.
export function toast(text, kind = "info") {
  let host = document.querySelector(".webui-toasts");
  if (!host) {
    host = element("div", { class: "webui-toasts", role: "status" });
    document.body.append(host);
  }
  const note = element("div", { class: `webui-toast ${kind}` }, text);
  host.append(note);
  setTimeout(() => note.remove(), kind === "error" ? 12000 : 5000);
}
