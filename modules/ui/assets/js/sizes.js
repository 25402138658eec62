// Width and height: aspect presets that keep the area, a frame over the source that shows what a size will take of it
// (A1111 shows the same for a moment whenever a size changes), and what hires fix and "Resize by" will make of them.

const search = new URL(import.meta.url).search;
const { element } = await import(`./dom.js${search}`);
const { openMenu } = await import(`./menu.js${search}`);

const RATIOS = [[1, 1], [5, 4], [4, 3], [3, 2], [16, 9], [21, 9], [4, 5], [3, 4], [2, 3], [9, 16]];
const MIN = 64;
const MAX = 2048; // the sliders' bounds
const SHOWN_MS = 1800;

// Sides of about the area of width × height in a ratio; in steps of 64 where pictures are large enough for it, which is
// how SDXL was trained, else of 8.
export function withRatio(width, height, across, down) {
  const area = width * height;
  const step = area >= 512 * 512 ? 64 : 8;
  const side = (length) => Math.min(MAX, Math.max(MIN, Math.round(length / step) * step));
  return [side(Math.sqrt(area * across / down)), side(Math.sqrt(area * down / across))];
}

// The size after hires fix: the rules of modules/planning/hires.py.
export function hiresSize(width, height, scale, resizeWidth, resizeHeight) {
  const whole = (...sides) => sides.map((side) => Math.floor(side / 8) * 8);
  if (!resizeWidth && !resizeHeight) return whole(Math.trunc(width * scale), Math.trunc(height * scale));
  if (!resizeHeight) return whole(resizeWidth, Math.floor((resizeWidth * height) / width));
  if (!resizeWidth) return whole(Math.floor((resizeHeight * width) / height), resizeHeight);
  const isWider = width / height < resizeWidth / resizeHeight;
  const upscaled = isWider ? [resizeWidth, Math.floor((resizeWidth * height) / width)] : [Math.floor((resizeHeight * width) / height), resizeHeight];
  const wanted = [resizeWidth, resizeHeight];
  return upscaled.map((side, k) => (Math.floor(side / 8) - Math.floor((side - wanted[k]) / 8)) * 8);
}

// What "Resize by" makes of a picture (modules/ui/form.py).
const scaledSide = (side, scale) => Math.max(8, Math.floor(Math.trunc(side * scale) / 8) * 8);

const fromTo = (from, to) => `from ${from.join("×")} to ${to.join("×")}`;

export function watchSizes({ pictures }) {
  const hiding = new Map(); // tab → timer

  // The frame over the source of a tab, for a moment.
  function show(tab, width, height) {
    const view = pictures.get(`${tab}_image`)?.view;
    if (!view?.width || !(width > 0) || !(height > 0)) return;
    const scale = view.stage.scaleX();
    const [across, down] = [view.width * scale, view.height * scale];
    const fit = Math.min(across / width, down / height);
    const frame = view.container.parentElement.querySelector(".webui-aspect") ?? element("div", { class: "webui-aspect" });
    view.container.parentElement.append(frame);
    Object.assign(frame.style, {
      width: `${width * fit}px`, height: `${height * fit}px`,
      left: `${view.container.offsetLeft + view.stage.x() + (across - width * fit) / 2}px`,
      top: `${view.container.offsetTop + view.stage.y() + (down - height * fit) / 2}px`,
    });
    frame.dataset.size = `${width} × ${height}`;
    clearTimeout(hiding.get(tab));
    hiding.set(tab, setTimeout(() => frame.remove(), SHOWN_MS));
  }

  const read = (tab, side) => Number(document.querySelector(`#${tab}_${side} input[type=number]`)?.value);

  document.addEventListener("input", ({ target }) => {
    const tab = target.closest?.("[id$=_width], [id$=_height]")?.id.match(/^(img2img|inpaint)_(width|height)$/)?.[1];
    if (tab) requestAnimationFrame(() => show(tab, read(tab, "width"), read(tab, "height")));
  }, { capture: true, passive: true });

  // "512x768" pasted into one of the sides fills both.
  document.addEventListener("paste", (event) => {
    const tab = event.target.closest?.("[id$=_width], [id$=_height]")?.id.match(/^(txt2img|img2img|inpaint)_(width|height)$/)?.[1];
    const given = tab && event.clipboardData?.getData("text").match(/^\s*(\d+)\s*[x×*]\s*(\d+)\s*$/i);
    if (!given) return;
    event.preventDefault();
    for (const [side, length] of [["width", given[1]], ["height", given[2]]]) {
      const input = document.querySelector(`#${tab}_${side} input[type=number]`);
      input.value = length;
      for (const kind of ["input", "change", "blur"]) input.dispatchEvent(new Event(kind, { bubbles: kind !== "blur" }));
    }
  });

  return {
    hiresSize,

    // Say in hires fix's header what will come of the sizes, and grey out what has no say in it.
    showHires(isOn, width, height, scale, resizeWidth, resizeHeight) {
      const first = [width, height].map((side) => Math.floor(side / 8) * 8);
      const said = document.querySelector("#txt2img_hr .webui-fromto");
      if (said) said.textContent = isOn && width > 0 && height > 0 ? fromTo(first, hiresSize(...first, scale, resizeWidth, resizeHeight)) : "";
      document.getElementById("txt2img_hr")?.classList.toggle("is-by-size", Boolean(resizeWidth || resizeHeight));
    },

    // The same beside "Resize by".
    showScaled(tab, isOn, scale) {
      const { width, height } = pictures.get(`${tab}_image`)?.value ?? {};
      const said = document.querySelector(`#${tab}_scale_size .webui-fromto`);
      if (said) said.textContent = isOn && width ? fromTo([width, height], [width, height].map((side) => scaledSide(side, scale))) : "";
    },

    // What a button makes of the sides, passed on with the frame shown.
    resized(tab, width, height) {
      show(tab, width, height);
      return [width, height];
    },

    // Ask for a ratio; resolves to the sides, as they were when none is chosen.
    chooseAspect(tab, width, height) {
      const opener = document.getElementById(`${tab}_aspect_btn`);
      const box = opener.getBoundingClientRect();
      return new Promise((resolve) => {
        const entries = RATIOS.map(([across, down]) => {
          const sides = withRatio(width, height, across, down);
          return [`${across}:${down}   ${sides.join(" × ")}`, () => resolve(this.resized(tab, ...sides))];
        });
        openMenu(entries, box.left, box.bottom + 4, opener, () => resolve([width, height]));
      });
    },
  };
}
