// A small menu at a place of the window; closes with a choice, Esc, or a click elsewhere.

const { element } = await import(`./dom.js${new URL(import.meta.url).search}`);

// `entries` are [text, run] pairs; `left` is called when it closes without a choice.
export function openMenu(entries, x, y, opener, left = () => {}) {
  document.querySelector(".webui-context")?.remove();
  const menu = element("div", { class: "webui-context", role: "menu" });
  const close = (chosen) => { menu.remove(); document.removeEventListener("pointerdown", away, true); opener?.focus(); if (!chosen) left(); };
  const away = (event) => { if (!menu.contains(event.target)) close(); };
  menu.append(...entries.map(([text, run]) => element("button", { type: "button", role: "menuitem", onclick: () => { close(true); run(); } }, text)));
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") { event.preventDefault(); event.stopPropagation(); close(); }
    if (step) { event.preventDefault(); items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus(); }
  });
  document.body.append(menu);
  menu.style.left = `${Math.max(4, Math.min(x, innerWidth - menu.offsetWidth - 4))}px`;
  menu.style.top = `${Math.max(4, Math.min(y, innerHeight - menu.offsetHeight - 4))}px`;
  menu.firstChild.focus();
  document.addEventListener("pointerdown", away, true);
}
