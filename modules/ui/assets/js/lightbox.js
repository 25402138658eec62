// The full-page picture viewer: ←/→ switch, s saves, Esc closes, click or z zooms. `more` adds keys: each function gets
// the picture shown, may change something, and answers the picture to show then, or null to close. `label(image)` is
// shown below the picture.

const { element, icon } = await import(`./dom.js${new URL(import.meta.url).search}`);

export function openLightbox({ image, step, save, zoomed = false, more = {}, label = () => "" }) {
  let current = image;
  const picture = element("img", { src: current.url, alt: "", onclick: (event) => { if (isOnPicture(event)) { event.stopPropagation(); zoom(); } } });
  const caption = element("div", { class: "caption", role: "status" });
  const show = (next) => {
    if (!next) return;
    if (next.url !== current.url) picture.src = next.url;
    current = next;
    caption.textContent = label(current);
  };
  const box = element("div", { class: "webui-lightbox", role: "dialog", "aria-modal": "true", "aria-label": "Picture", tabIndex: -1, onclick: () => close() },
    element("div", { class: "tools", onclick: (event) => event.stopPropagation() },
      icon("full", "Zoom (z)", () => zoom()), icon("tiles", "Repeat as tiles", () => tile()),
      icon("save", "Save (s)", () => save(current)), icon("close", "Close (Esc)", () => close())),
    icon("left", "Previous (←)", (event) => { event.stopPropagation(); show(step(-1)); }, { class: "side left" }), picture,
    icon("right", "Next (→)", (event) => { event.stopPropagation(); show(step(1)); }, { class: "side right" }), caption);
  box.classList.toggle("filled", zoomed);
  const before = document.activeElement;

  // A picture that fills the window has empty stripes beside it, which are not it.
  function isOnPicture({ offsetX, offsetY }) {
    const { clientWidth: width, clientHeight: height, naturalWidth, naturalHeight } = picture;
    const scale = Math.min(width / naturalWidth, height / naturalHeight);
    return Math.abs(offsetX - width / 2) <= (naturalWidth * scale) / 2 && Math.abs(offsetY - height / 2) <= (naturalHeight * scale) / 2;
  }

  // From filling the window to the picture's own pixels, and back.
  function zoom() {
    const isLarge = picture.naturalWidth > innerWidth || picture.naturalHeight > innerHeight;
    const fills = box.classList.contains("filled") || (isLarge && !box.classList.contains("actual"));
    box.classList.toggle("actual", fills);
    box.classList.toggle("filled", !fills);
  }

  function tile() {
    const isTiled = box.classList.toggle("tiled");
    box.style.backgroundImage = isTiled ? `url("${encodeURI(new URL(current.url, document.baseURI).href)}")` : "";
  }

  function keys(event) {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const added = isPlain ? more[event.key] : more[`Ctrl+${event.key}`];
    const actions = !isPlain ? {} : { ArrowLeft: () => show(step(-1)), ArrowRight: () => show(step(1)), Escape: close, s: () => save(current), z: zoom };
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
