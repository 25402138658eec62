// The full-page picture viewer: ←/→ switch, s saves, Esc closes, click or z zooms. `more` adds keys: each function gets
// the picture shown, may change something, and answers the picture to show then, or null to close. `label(image)` is
// shown below the picture.

const { element, icon } = await import(`./dom.js${new URL(import.meta.url).search}`);

export function openLightbox({ image, step, save, zoomed = false, more = {}, label = () => "" }) {
  let current = image;
  const picture = element("img", { src: current.url, alt: "", onclick: (event) => { event.stopPropagation(); box.classList.toggle("zoomed"); } });
  const caption = element("div", { class: "caption", role: "status" });
  const show = (next) => {
    if (!next) return;
    if (next.url !== current.url) picture.src = next.url;
    current = next;
    caption.textContent = label(current);
  };
  const box = element("div", { class: "webui-lightbox", role: "dialog", "aria-modal": "true", "aria-label": "Picture", tabIndex: -1, onclick: () => close() },
    element("div", { class: "tools", onclick: (event) => event.stopPropagation() },
      icon("full", "Zoom (z)", () => box.classList.toggle("zoomed")), icon("tiles", "Repeat as tiles", () => tile()),
      icon("save", "Save (s)", () => save(current)), icon("close", "Close (Esc)", () => close())),
    icon("left", "Previous (←)", (event) => { event.stopPropagation(); show(step(-1)); }, { class: "side left" }), picture,
    icon("right", "Next (→)", (event) => { event.stopPropagation(); show(step(1)); }, { class: "side right" }), caption);
  if (zoomed) box.classList.add("zoomed");
  const before = document.activeElement;

  function tile() {
    const isTiled = box.classList.toggle("tiled");
    box.style.backgroundImage = isTiled ? `url("${encodeURI(new URL(current.url, document.baseURI).href)}")` : "";
  }

  function keys(event) {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const added = isPlain ? more[event.key] : more[`Ctrl+${event.key}`];
    const actions = !isPlain ? {} : { ArrowLeft: () => show(step(-1)), ArrowRight: () => show(step(1)), Escape: close, s: () => save(current), z: () => box.classList.toggle("zoomed") };
    const action = added ? async () => { const next = await added(current); if (next) show(next); else close(); } : actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  function close() {
    document.removeEventListener("keydown", keys, true);
    box.remove();
    before?.focus?.();
  }

  document.addEventListener("keydown", keys, true);
  document.body.append(box);
  caption.textContent = label(current);
  box.focus();
}
