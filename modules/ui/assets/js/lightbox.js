// The full-page picture viewer: ←/→ switch, s saves, Esc closes, click or z zooms. `more` adds keys: each function gets
// the picture shown, may change something, and answers the picture to show then, or null to close. `label(image)` is
// shown below the picture. `gamepad` is how often a held stick switches, in ms; 0 leaves gamepads alone.
//
// Answers { follow(image), isOpen() }: `follow` shows another picture from outside, such as a preview.

const { element, icon } = await import(`./dom.js${new URL(import.meta.url).search}`);

export function openLightbox({ image, step, save, zoomed = false, more = {}, label = () => "", gamepad = 0 }) {
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

  const pads = gamepad ? watchGamepads({ step: (by) => show(step(by)), every: gamepad }) : null;

  function close() {
    pads?.stop();
    document.removeEventListener("keydown", keys, true);
    box.remove();
    before?.focus?.();
  }

  document.addEventListener("keydown", keys, true);
  document.body.append(box);
  caption.textContent = label(current);
  box.focus();
  return { follow: show, isOpen: () => box.isConnected };
}

const TILTED = 0.3; // of a stick's way, as in A1111

// Any gamepad's first stick switches pictures: at once when tilted, then every so many ms while it is held.
function watchGamepads({ step, every }) {
  let next = 0; // when a held stick counts again
  const timer = setInterval(() => {
    const tilts = [...(navigator.getGamepads?.() ?? [])].map((pad) => pad?.axes[0] ?? 0);
    const tilt = tilts.find((value) => Math.abs(value) > TILTED) ?? 0;
    if (!tilt) next = 0;
    else if (performance.now() >= next) { next = performance.now() + every; step(Math.sign(tilt)); }
  }, 16);
  return { stop: () => clearInterval(timer) };
}
