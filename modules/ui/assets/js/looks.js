// What settings say of the page's looks, as classes and variables of the document that the style sheets go by; and the
// screen that stays awake while pictures are made.

export function applyLooks(config) {
  const { classList, style } = document.documentElement;
  classList.toggle("webui-no-progressbar", config.show_progressbar === false);
  classList.toggle("webui-no-pictures", config.do_not_show_images === true);
  classList.toggle("webui-no-viewer", config.js_modal_lightbox === false);
  const EDITOR_AS_SHIPPED = 720; // A1111's default; ours follows the window
  const sizes = {
    "--w-gallery-height": config.gallery_height,
    "--w-editor-height": config.img2img_editor_height === EDITOR_AS_SHIPPED ? "" : `${config.img2img_editor_height}px`,
    "--w-viewer-icons": config.sd_webui_modal_lightbox_icon_opacity,
    "--w-viewer-bar": config.sd_webui_modal_lightbox_toolbar_opacity,
  };
  for (const [name, value] of Object.entries(sizes)) {
    if (value === undefined || value === "") style.removeProperty(name);
    else style.setProperty(name, String(value));
  }
}

// Ask the browser to keep the screen on while a job of this page runs; one that cannot, or may not, goes on without.
export function keepAwake(feed, config) {
  let lock = null; // a promise of the browser's WakeLockSentinel, or of null

  async function look() {
    const isRunning = [...feed.jobs.values()].some((job) => job.state === "running");
    const isWanted = isRunning && !document.hidden && config.prevent_screen_sleep_during_generation !== false;
    if (isWanted && !lock && navigator.wakeLock) {
      lock = navigator.wakeLock.request("screen").catch(() => null);
      (await lock)?.addEventListener("release", () => { lock = null; });
    } else if (!isWanted && lock) {
      const held = lock;
      lock = null;
      (await held)?.release();
    }
  }

  feed.onChange(look);
  document.addEventListener("visibilitychange", look);
}
