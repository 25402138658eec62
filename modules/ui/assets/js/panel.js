// The live panel of one tab: progress, preview, pictures, their infotext, and what can be done with them.

const search = new URL(import.meta.url).search;
const { element, button, icon, toast } = await import(`./dom.js${search}`);
const { call } = await import(`./http.js${search}`);
const { isOver } = await import(`./jobs.js${search}`);
const { openLightbox } = await import(`./lightbox.js${search}`);
const { BeforeAfter } = await import(`./before_after.js${search}`);

const JOBS_KEPT = 8; // finished jobs whose pictures stay in the strip
const LOOK_MS = 1000;
const SOURCE_TABS = ["img2img", "inpaint"];
const TITLE = document.title;
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

export function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total}s`;
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor(total / 60) % 60];
  return hours ? `${two(hours)}:${two(minutes)}:${two(total % 60)}` : `${two(minutes)}:${two(total % 60)}`;
}

export class Panel {
  constructor({ tab, host, feed, config, trigger, send, workOn, openFolder }) {
    Object.assign(this, { tab, feed, config, trigger, send, workOn, openFolder });
    this.ids = []; // this tab's jobs, oldest first
    this.answers = 0; // to Generate
    this.submitted = new Set(); // jobs that were asked for here since the page opened
    this.refusal = null; // what the last one was refused for
    this.asked = new Set(); // jobs that were asked to end
    this.selected = null; // the Image on the stage
    this.looking = null; // timer
    this.worker = ""; // what it is busy with while jobs wait
    this.follows = true; // the stage follows new pictures until one is chosen
    this.shownPreview = null; // { job, number, at }: the preview on show, and since when (ms)
    this.later = null; // timer of the next preview
    this.viewer = null; // the full page viewer, once opened
    this.build(host);
    feed.onChange((job) => { if (this.ids.includes(job.id)) this.refresh(job); });
  }

  build(host) {
    this.bar = element("div", { class: "fill" });
    this.barText = element("span", { class: "text", role: "status", "aria-live": "polite" });
    this.picture = element("img", { alt: "", hidden: true, onclick: () => this.enlarge() });
    this.picture.draggable = true;
    // the wheel's button opens the file in a tab of its own, as on a link
    this.picture.addEventListener("mousedown", (event) => { if (event.button === 1) event.preventDefault(); });
    this.picture.addEventListener("auxclick", (event) => { if (event.button === 1 && this.selected) window.open(this.selected.url, "_blank", "noopener"); });
    this.hint = element("div", { class: "hint" }, "Your pictures appear here.");
    this.strip = element("div", { class: "strip", role: "listbox", "aria-label": "Pictures" });
    this.queue = element("div", { class: "queue" });
    this.message = element("div", { class: "message", role: "alert", hidden: true });
    this.words = element("span", {});
    this.message.append(this.words, icon("close", "Close this message", () => this.say("")));
    this.infotext = element("div", { class: "infotext", tabIndex: 0, role: "region", "aria-label": "Generation parameters" });
    this.timing = element("div", { class: "timing" });
    const act = (run) => () => { if (this.selected) run(this.selected); };
    this.folder = this.folderButton();
    this.actions = element("div", { class: "actions", role: "toolbar", "aria-label": "Picture actions" },
      this.folder,
      icon("save", "Download the file as saved, metadata included", act((image) => this.download(image)), { id: `${this.tab}_save` }),
      icon("zip", "Download all pictures of this job as a ZIP archive", act((image) => this.downloadAll(image)), { id: `${this.tab}_save_zip` }),
      icon("copy", "Copy the parameters", act((image) => navigator.clipboard?.writeText(image.infotext))),
      this.tab === "txt2img" ? icon("sparkle", "Hires. fix of this picture, with the values on the page", act((image) => this.enlargeByHires(image)), { id: "txt2img_upscale" }) : null,
      ...["txt2img", "img2img", "inpaint", "extras"].map((target) => button(`→ ${target}`, `Send picture and parameters to ${target}`,
        act((image) => this.send({ target, image, trigger: this.trigger })), { id: `${this.tab}_send_to_${target}` })),
      ...this.sourceActions(act));
    this.stage = element("div", { class: "stage" }, this.hint, this.picture, this.message);
    this.beforeAfter = new BeforeAfter(this.stage, () => this.draw());
    this.root = element("div", { class: "panel" },
      element("div", { class: "bar" }, this.bar, this.barText),
      element("div", { class: "show" }, this.stage, this.strip),
      this.actions, this.infotext, this.timing, this.queue);
    host.replaceChildren(this.root);
    this.drawFolder();
    this.draw();
  }

  // Opens the folder on the machine that the server runs on: for whoever sits there, and says why not for others.
  folderButton() {
    const open = () => this.openFolder({ tab: this.tab, job: this.selected?.job, picture: this.selected?.id }).catch((error) => toast(error.message, "error"));
    return icon("open", "Open the folder of the pictures", open, { id: `${this.tab}_open_folder` });
  }

  // Also called when the settings arrive, which may be after the panel.
  drawFolder() {
    const why = LOOPBACK.includes(location.hostname) ? this.config.why_no_folder : "this page is open on another machine than the server";
    if (!why === !this.folder.disabled) return;
    const title = why ? `Folders cannot be opened here: ${why}` : "Open the folder of the pictures";
    Object.assign(this.folder, { disabled: Boolean(why), title, ariaLabel: title });
  }

  // What can be done with a result that was made from a picture.
  sourceActions(act) {
    if (!SOURCE_TABS.includes(this.tab)) return [];
    this.compare = icon("compare", "Before and after: lay the source over the result", act((image) => { this.beforeAfter.toggle(image); this.draw(); }), { id: `${this.tab}_compare` });
    if (this.tab !== "inpaint") return [this.compare];
    return [this.compare, button("→ source", "Work on: this picture becomes the source, the mask stays", act((image) => this.workOn(this.tab, image)), { id: "inpaint_work_on" })];
  }

  // A value from Python: a job just submitted, the jobs to show again after a reload, or an error.
  show(value) {
    if (!value) return;
    this.answers += 1;
    this.refusal = value.error ?? null;
    if (value.error) this.say(value.error, "error");
    const ids = value.submitted ? [value.submitted] : value.jobs ?? [];
    if (value.submitted) { this.say(""); this.follows = true; this.submitted.add(value.submitted); }
    const fresh = ids.filter((id) => !this.ids.includes(id));
    this.ids.push(...fresh);
    this.feed.follow(fresh).then(() => this.draw());
  }

  say(text, kind = "info") {
    this.message.hidden = !text;
    this.words.textContent = text;
    this.message.className = `message ${kind}`;
  }

  get jobs() { return this.ids.map((id) => this.feed.jobs.get(id)).filter(Boolean); }

  get running() { return this.jobs.find((job) => job.state === "running") ?? null; }

  get pictures() {
    const shown = this.jobs.filter((job) => job.images.some((image) => image.shown)).slice(-JOBS_KEPT).reverse();
    return shown.flatMap((job) => job.images.filter((image) => image.shown).map((image) => ({ ...image, job: job.id })));
  }

  refresh(job) {
    if (job.state === "failed") this.say(job.error?.message ?? "The job failed.", "error");
    else if (job.notices.length) this.say(job.notices.join("\n"), "notice");
    this.draw();
  }

  draw() {
    const { running } = this;
    this.drawProgress(running);
    this.drawStrip();
    this.drawStage(running);
    this.drawQueue();
  }

  drawProgress(running) {
    const waiting = this.jobs.filter((job) => job.state === "queued");
    this.root.classList.toggle("is-running", Boolean(running));
    const share = running?.progress ?? 0;
    this.bar.style.width = `${(share * 100).toFixed(1)}%`;
    let text = "";
    if (running) {
      const percent = `${Math.round(share * 100)}%`;
      const batch = (running.batches ?? 1) > 1 ? `batch ${running.batch + 1}/${running.batches} ` : "";
      const eta = running.eta_s === null || running.eta_s === undefined ? "" : ` ETA: ${clock(running.eta_s)}`;
      text = `${running.text ? `${running.text} ` : ""}${batch}${percent}${eta}`;
      if (running.steps) text += ` · ${running.step}/${running.steps}`;
    } else if (waiting.length) text = waiting[0].held ? "On hold" : `In queue: ${waiting[0].position ?? ""}${this.worker ? ` · ${this.worker}` : ""}`;
    this.lookAtWorker(!running && waiting.length > 0 && !waiting[0].held);
    this.barText.textContent = text;
    if (this.config.show_progress_in_title !== false) {
      const title = running ? `[${Math.round(share * 100)}%${running.eta_s == null ? "" : ` ETA: ${clock(running.eta_s)}`}] ${TITLE}` : TITLE;
      if (running || this.hadTitle) document.title = title;
      this.hadTitle = Boolean(running);
    }
  }

  // Jobs wait, and none runs: say what the worker is busy with instead, such as starting.
  lookAtWorker(isWanted) {
    if (!isWanted) { clearInterval(this.looking); this.looking = null; this.worker = ""; return; }
    this.looking ??= setInterval(async () => {
      const report = await call("worker").catch(() => null);
      const words = ["starting", "loading", "dead"].includes(report?.state) ? report.message || report.state : "";
      if (words !== this.worker && this.looking) { this.worker = words; this.draw(); }
    }, LOOK_MS);
  }

  drawStrip() {
    const pictures = this.pictures;
    if (this.follows || !pictures.some((image) => image.id === this.selected?.id)) this.selected = pictures[0] ?? null;
    const key = pictures.map((image) => image.id).join();
    if (key !== this.stripKey) {
      this.stripKey = key;
      this.strip.replaceChildren(...pictures.map((image, k) => {
        const thumb = element("img", { src: image.thumb ?? image.url, alt: `Picture with seed ${image.seed}`, loading: "lazy", draggable: false });
        const isNewJob = k > 0 && pictures[k - 1].job !== image.job;
        const entry = element("button", { type: "button", class: isNewJob ? "thumb next-job" : "thumb", role: "option", onclick: () => this.select(image) }, thumb);
        entry.dataset.id = image.id;
        return entry;
      }));
    }
    for (const entry of this.strip.children) entry.setAttribute("aria-selected", String(entry.dataset.id === this.selected?.id));
  }

  // The number of the preview to show: a newer one at most every `live_preview_refresh_period` ms.
  previewOf(running) {
    const newest = running?.preview ?? null;
    if (newest === null) return null;
    const before = this.shownPreview?.job === running.id ? this.shownPreview : null;
    const waits = before && before.number !== newest ? before.at + (this.config.live_preview_refresh_period ?? 0) - Date.now() : 0;
    if (waits > 0) this.later ??= setTimeout(() => { this.later = null; this.draw(); }, waits);
    else if (before?.number !== newest) this.shownPreview = { job: running.id, number: newest, at: Date.now() };
    return this.shownPreview.number;
  }

  drawStage(running) {
    const preview = this.previewOf(running);
    const showsPreview = preview !== null && (this.follows || !this.selected);
    const url = showsPreview ? new URL(`jobs/${running.id}/preview?n=${preview}`, document.baseURI).href : this.selected?.url;
    const image = showsPreview ? null : this.selected;
    this.root.classList.toggle("is-preview", showsPreview);
    this.hint.hidden = Boolean(url);
    this.picture.hidden = !url;
    if (url) this.swap(new URL(url, document.baseURI).href);
    this.preview = showsPreview ? { url } : null;
    if (this.viewer?.isOpen() && this.showsLive) this.viewer.follow(this.preview ?? image);
    this.beforeAfter.follow(image?.role === "grid" ? null : image);
    this.compare?.setAttribute("aria-pressed", String(this.beforeAfter.isOn));
    this.picture.alt = image ? `Generated picture, seed ${image.seed}` : "Preview";
    this.infotext.textContent = image?.infotext ?? "";
    for (const action of this.actions.children) if (action !== this.folder) action.disabled = !image;
    const job = image && this.feed.jobs.get(image.job);
    const facts = [];
    if (job?.finished && job.started) facts.push(`Time taken: ${(job.finished - job.started).toFixed(1)} sec.`);
    for (const { name, applied, total, for_t5: forT5 } of job?.networks ?? []) {
      facts.push(`${name}: ${applied} of ${total} modules applied${forT5 ? `, ${forT5} are for T5, which is not loaded` : ""}`);
    }
    if (image?.saving_error) facts.push(`Not saved: ${image.saving_error}`);
    this.timing.replaceChildren(...facts.map((fact) => element("span", {}, fact)));
    if (image?.saved) this.timing.append(element("span", { "data-user": "" }, image.saved));
  }

  // Show a picture once it is decoded, so that the stage never flashes empty between two.
  swap(url) {
    if (this.wantedUrl === url) return;
    this.wantedUrl = url;
    const next = new Image();
    next.onload = () => { if (this.wantedUrl === url) this.picture.src = url; };
    next.src = url;
  }

  drawQueue() {
    const waiting = this.jobs.filter((job) => job.state === "queued");
    this.queue.replaceChildren(...waiting.map((job) => element("div", { class: "waiting" },
      element("span", { class: "place" }, job.held ? "on hold" : `#${job.position ?? "…"}`), element("span", { class: "title" }, job.title || "(no prompt)"),
      icon("close", "Take this job out of the queue", () => this.feed.steer(job.id, "cancel")))));
  }

  select(image) {
    this.follows = image.id === this.pictures[0]?.id;
    this.selected = image;
    this.draw();
  }

  step(by) {
    const { pictures } = this;
    const place = pictures.findIndex((image) => image.id === this.selected?.id);
    if (place >= 0) this.select(pictures[(place + by + pictures.length) % pictures.length]);
    return this.selected;
  }

  get showsLive() { return this.config.js_live_preview_in_modal_lightbox === true; }

  enlarge() {
    const image = (this.showsLive && this.preview) || this.selected;
    if (!image || this.config.js_modal_lightbox === false) return;
    const { config } = this;
    this.viewer = openLightbox({ image, step: (by) => this.step(by), save: (shown) => { if (shown.id) this.download(shown); },
      zoomed: config.js_modal_lightbox_initially_zoomed, gamepad: config.js_modal_lightbox_gamepad ? config.js_modal_lightbox_gamepad_repeat : 0 });
  }

  enlargeByHires(image) { this.trigger("hires", { id: image.id, job: image.job }); }

  downloadAll(image) {
    element("a", { href: new URL(`jobs/${image.job}/zip`, document.baseURI).href, download: "" }).click();
  }

  download(image) {
    const link = element("a", { href: `${image.url}${image.url.includes("?") ? "&" : "?"}download=1`, download: image.name ?? "" });
    link.click();
  }
}

export { isOver };
