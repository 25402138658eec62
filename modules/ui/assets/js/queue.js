// The Queue tab: all of one's jobs, wherever they were asked for; order, pause, hold, edit, duplicate, cancel, retry.

const search = new URL(import.meta.url).search;
const { element, button, icon, debounce, toast } = await import(`./dom.js${search}`);
const { at, call } = await import(`./http.js${search}`);
const { isOver } = await import(`./jobs.js${search}`);
const { clock } = await import(`./panel.js${search}`);
const { openLightbox } = await import(`./lightbox.js${search}`);

const ENDED_SHOWN = 40;
const THUMBS = 8;
const REFRESH_AFTER_MS = 250;
const EDITOR_WITHIN_MS = 8000; // a tab that was never opened builds its editor first
const STATES = { running: "Running", queued: "Waiting", done: "Done", failed: "Failed", interrupted: "Interrupted", cancelled: "Cancelled" };

export class QueuePanel {
  constructor({ host, trigger, feed, pictures }) {
    Object.assign(this, { trigger, feed, pictures });
    this.rows = new Map(); // job id → { node, key }
    this.paused = false;
    this.failed = (error) => toast(error.message, "error");
    this.pause = button("Pause", "Let no further job start", () => this.setPaused(!this.paused), { class: "webui-button" });
    this.clear = button("Cancel all waiting", "Take every waiting job out of the queue", () => this.cancelWaiting(), { class: "webui-button" });
    this.retryFailed = button("Retry failed", "Run every failed job again", () => this.retryAll(), { class: "webui-button" });
    this.sum = element("output", { class: "sum", role: "status" });
    this.active = element("ol", { class: "jobs", "aria-label": "Waiting and running jobs" });
    this.ended = element("ol", { class: "jobs ended", "aria-label": "Jobs that have ended" });
    this.none = element("p", { class: "none" }, "Nothing waits. Generate can be pressed any number of times; the jobs line up here.");
    this.endedTitle = element("h3", {}, "Ended");
    this.root = element("div", { class: "queue-tab" }, element("div", { class: "bar" }, this.pause, this.clear, this.retryFailed, this.sum), this.none, this.active, this.endedTitle, this.ended);
    host.replaceChildren(this.root);
    const drawSoon = debounce(60, () => { if (this.root.offsetParent) this.draw(); });
    feed.onChange(drawSoon);
    const refreshSoon = debounce(REFRESH_AFTER_MS, () => this.refresh());
    feed.onStranger(() => { if (this.root.offsetParent) refreshSoon(); });
    new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) this.refresh(); }).observe(this.root);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  async refresh() {
    this.feed.open();
    try {
      const [active, recent] = await Promise.all([call("jobs?state=active&limit=500"), call(`jobs?limit=${ENDED_SHOWN}`)]);
      this.paused = active.paused;
      for (const job of [...recent.jobs, ...active.jobs]) { this.feed.wanted.add(job.id); this.feed.put(job); }
    } catch (error) {
      this.failed(error);
    }
    this.draw();
  }

  get jobs() { return [...this.feed.jobs.values()]; }

  get waiting() { return this.jobs.filter((job) => job.state === "queued").sort((one, other) => (one.position ?? 1e9) - (other.position ?? 1e9) || one.created - other.created); }

  get running() { return this.jobs.filter((job) => job.state === "running").sort((one, other) => one.started - other.started); }

  get over() { return this.jobs.filter(isOver).sort((one, other) => (other.finished ?? 0) - (one.finished ?? 0)).slice(0, ENDED_SHOWN); }

  // Seconds that a job takes here, from those that are done; null while none is.
  get usualTime() {
    const times = this.jobs.filter((job) => job.state === "done" && job.started && job.finished).map((job) => job.finished - job.started).sort((one, other) => one - other);
    if (times.length) return times[Math.floor(times.length / 2)];
    const now = this.running.find((job) => job.eta_s != null && job.started);
    return now ? Date.now() / 1000 - now.started + now.eta_s : null;
  }

  draw() {
    const { waiting, running, over } = this;
    this.pause.textContent = this.paused ? "Resume" : "Pause";
    this.pause.title = this.pause.ariaLabel = this.paused ? "Let the waiting jobs start" : "Let no further job start";
    this.root.classList.toggle("is-paused", this.paused);
    this.clear.hidden = !waiting.length;
    this.retryFailed.hidden = !over.some((job) => job.state === "failed");
    this.sum.textContent = [running.length ? `${running.length} running` : "", waiting.length ? `${waiting.length} waiting` : "", this.paused ? "paused" : ""].filter(Boolean).join(" · ");
    this.none.hidden = waiting.length + running.length > 0;
    this.endedTitle.hidden = over.length === 0;
    const known = new Set();
    const place = (list, jobs) => jobs.forEach((job, k) => {
      known.add(job.id);
      const node = this.row(job);
      if (list.children[k] !== node) list.insertBefore(node, list.children[k] ?? null);
    });
    place(this.active, [...running, ...waiting]);
    place(this.ended, over);
    for (const [id, { node }] of this.rows) if (!known.has(id)) { node.remove(); this.rows.delete(id); }
  }

  row(job) {
    const key = JSON.stringify([job.state, job.position, job.held, job.images.length, job.title, job.error, job.notices.length]);
    let row = this.rows.get(job.id);
    if (row?.key !== key) {
      const fresh = this.newRow(job);
      if (row?.node.contains(document.activeElement)) queueMicrotask(() => fresh.node.focus());
      row?.node.replaceWith(fresh.node);
      row = { ...fresh, key };
      this.rows.set(job.id, row);
    }
    this.follow(row, job);
    return row.node;
  }

  // What changes with every step: progress, preview and times.
  follow(row, job) {
    row.state.textContent = this.stateOf(job);
    row.fill.style.width = `${job.state === "running" ? (job.progress * 100).toFixed(1) : 0}%`;
    if (job.state === "running" && job.preview !== null && !job.images.length) {
      const url = at(`jobs/${job.id}/preview?n=${job.preview}`);
      if (!row.preview) { row.preview = element("img", { alt: "Preview", draggable: false }); row.thumbs.replaceChildren(row.preview); }
      if (row.preview.src !== url) row.preview.src = url;
    }
  }

  stateOf(job) {
    if (job.state === "running") {
      const steps = job.steps ? `${job.step}/${job.steps}` : "";
      const batch = job.batches > 1 ? `batch ${job.batch + 1}/${job.batches}` : "";
      return [job.text || `${Math.round(job.progress * 100)}%`, batch, steps, job.eta_s == null ? "" : `${clock(job.eta_s)} left`].filter(Boolean).join(" · ");
    }
    if (job.state === "queued") {
      if (job.held) return "On hold";
      const wait = this.waitOf(job);
      return `#${job.position ?? "…"}${wait === null || this.paused ? "" : ` · starts in about ${clock(wait)}`}`;
    }
    const took = job.started && job.finished ? clock(job.finished - job.started) : "";
    return [STATES[job.state], took].filter(Boolean).join(" · ");
  }

  waitOf(job) {
    const usual = this.usualTime;
    const left = this.running.reduce((most, one) => Math.max(most, one.eta_s ?? usual ?? 0), 0);
    if (usual === null) return job.position === 1 && left ? left : null;
    return left + usual * Math.max(0, (job.position ?? 1) - 1);
  }

  newRow(job) {
    const state = element("span", { class: "state" });
    const fill = element("span", { class: "fill" });
    const thumbs = element("span", { class: "thumbs" }, ...job.images.slice(0, THUMBS).map((image) => this.thumb(job, image)));
    if (job.images.length > THUMBS) thumbs.append(element("span", { class: "rest" }, `+${job.images.length - THUMBS}`));
    if (!job.images.length && isOver(job)) thumbs.classList.add("nothing");
    if (!job.images.length && job.asked && job.asked.tab !== "txt2img" && !job.asked.script) {
      thumbs.append(element("img", { src: at(`jobs/${job.id}/source?thumb=1`), alt: "Source", class: "source", draggable: false, onerror: (event) => event.target.remove() }));
    }
    const words = job.error?.message ?? job.notices.join(" ");
    const isWaiting = job.state === "queued";
    const node = element("li", { class: `job ${job.state} ${job.held ? "held" : ""}`, tabIndex: 0, draggable: isWaiting, "aria-label": `${STATES[job.state]}: ${job.title || "(no prompt)"}` },
      fill, element("span", { class: "handle", "aria-hidden": "true", title: "Drag to another place (Alt+↑/↓)" }, isWaiting ? "⠿" : ""), thumbs,
      element("span", { class: "words" }, element("span", { class: "title" }, job.title || "(no prompt)"), element("span", { class: "line" }, state, ...this.asked(job)), words ? element("span", { class: "problem" }, words) : null),
      element("span", { class: "acts" }, ...this.actions(job)));
    if (isWaiting) this.makeMovable(node, job.id);
    return { node, state, fill, thumbs, preview: null };
  }

  // What tells this job from the others.
  asked({ asked, finished }) {
    const facts = [];
    if (asked) {
      const { tab, width, height, hires, pictures, sampler, steps, model, script } = asked;
      facts.push(tab, `${width}×${height}`, hires ? "Hires. fix" : "", pictures > 1 ? `${pictures} pictures` : "", sampler ?? "", steps ? `${steps} steps` : "");
      facts.push(element("span", { "data-user": "" }, script ?? model ?? ""));
    }
    if (finished) facts.push(element("time", { "data-user": "", dateTime: new Date(finished * 1000).toISOString() }, new Date(finished * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })));
    return facts.map((fact) => (fact instanceof Element ? fact : element("span", {}, fact))).filter((fact) => fact.textContent).map((fact) => { fact.classList.add("fact"); return fact; });
  }

  thumb(job, image) {
    const open = () => {
      let current = image;
      const step = (by) => { const k = job.images.findIndex((one) => one.id === current.id); current = job.images[(k + by + job.images.length) % job.images.length]; return { ...current, url: at(current.url) }; };
      openLightbox({ image: { ...image, url: at(image.url) }, step, save: (one) => element("a", { href: at(`${one.url}?download=1`), download: one.name ?? "" }).click() });
    };
    return element("button", { type: "button", title: "Enlarge", "aria-label": `Enlarge the picture with seed ${image.seed}`, onclick: open }, element("img", { src: at(image.thumb), alt: "", loading: "lazy", draggable: false }));
  }

  actions(job) {
    const act = (name, title, run) => icon(name, title, run, { class: "webui-button" });
    const steer = (action) => () => this.steer(job.id, action);
    const edit = (text) => act("style", text, () => this.edit(job));
    const duplicate = act("copy", "Once more, with new seeds", steer("duplicate"));
    if (job.state === "queued") {
      return [icon("first", "To the front", () => this.move(job.id, this.waiting[0]?.id), { class: "webui-button" }),
        job.held ? button("Release", "Let it start when its turn comes", steer("release"), { class: "webui-button" }) : button("Hold", "Keep it from starting", steer("hold"), { class: "webui-button" }),
        edit("Edit: take it out of the queue, back into the form"), duplicate, act("close", "Cancel", steer("cancel"))];
    }
    if (job.state === "running") return [button("Skip", "Give up the batch in hand", steer("skip"), { class: "webui-button" }), edit("Put its values into the form"), duplicate, act("close", "Interrupt: end it now, keep what there is", steer("interrupt"))];
    return [act("refresh", "Retry: the same again, seeds included", steer("retry")), edit("Put its values into the form"), duplicate];
  }

  // ── steering ─────────────────────────────────────────────────────────────────────────────────────────────────

  async attempt(work) {
    try { return await work(); } catch (error) { this.failed(error); return null; }
  }

  async steer(id, action) {
    const job = await this.attempt(() => call(`jobs/${encodeURIComponent(id)}/${action}`, {}));
    if (!job) return;
    this.feed.wanted.add(job.id);
    this.feed.put(job);
    await this.refresh();
  }

  async setPaused(paused) {
    const answer = await this.attempt(() => call(paused ? "jobs/pause" : "jobs/resume", {}));
    if (answer) this.paused = answer.paused;
    this.draw();
  }

  async move(id, before) {
    if (before === id) return;
    await this.steer(id, before ? `move?before=${encodeURIComponent(before)}` : "move");
  }

  async cancelWaiting() {
    const { waiting } = this;
    if (waiting.length > 1 && !confirm(`Cancel ${waiting.length} waiting jobs?`)) return;
    for (const job of waiting) await this.attempt(() => call(`jobs/${job.id}/cancel`, {}));
    await this.refresh();
  }

  async retryAll() {
    for (const job of this.over.filter((one) => one.state === "failed")) await this.attempt(() => call(`jobs/${job.id}/retry`, {}));
    await this.refresh();
  }

  // Back into the form: fields by the page's own "send", pictures and mask by the editor of the tab.
  async edit(job) {
    const page = await this.attempt(() => call(`jobs/${job.id}/page`));
    if (!page) return;
    const pictures = page.source ? await this.attempt(() => this.fetchPictures(job, page)) : {};
    if (!pictures) return;
    if (job.state === "queued") await this.steer(job.id, "cancel");
    this.trigger("send", { target: page.tab, infotext: page.infotext, leaves: page.leaves, everything: true });
    if (page.script) toast(`The arguments of the script "${page.script}" are not restored; choose it again.`);
    if (pictures.source) await this.deliver(page.tab, pictures);
  }

  async fetchPictures(job, page) {
    const blob = async (name) => {
      const answer = await fetch(at(`jobs/${job.id}/${name}`), { credentials: "same-origin" });
      if (!answer.ok) throw new Error("The pictures that this job started from are not kept any more.");
      return answer.blob();
    };
    return { source: await blob("source"), mask: page.mask ? await blob("mask") : null };
  }

  async deliver(tab, { source, mask }) {
    const deadline = Date.now() + EDITOR_WITHIN_MS;
    let editor = null;
    while (!(editor = this.pictures.get(`${tab}_image`)) && Date.now() < deadline) await new Promise((resolve) => { setTimeout(resolve, 50); });
    if (!editor) return;
    await editor.load(source);
    if (mask) await editor.takeMask(mask);
  }

  // ── order ────────────────────────────────────────────────────────────────────────────────────────────────────

  makeMovable(node, id) {
    node.dataset.job = id;
    node.addEventListener("dragstart", (event) => { event.dataTransfer.setData("application/x-webui-job", id); event.dataTransfer.effectAllowed = "move"; node.classList.add("dragged"); });
    node.addEventListener("dragend", () => node.classList.remove("dragged"));
    node.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("application/x-webui-job")) return;
      event.preventDefault();
      const { top, height } = node.getBoundingClientRect();
      node.classList.toggle("after", event.clientY > top + height / 2);
      node.classList.add("over");
    });
    node.addEventListener("dragleave", () => node.classList.remove("over", "after"));
    node.addEventListener("drop", (event) => {
      event.preventDefault();
      const moved = event.dataTransfer.getData("application/x-webui-job");
      const goesAfter = node.classList.contains("after");
      node.classList.remove("over", "after");
      const order = this.waiting.map((job) => job.id).filter((one) => one !== moved);
      const place = order.indexOf(id) + (goesAfter ? 1 : 0);
      if (moved && moved !== id) this.move(moved, order[place]);
    });
  }

  // Alt+↑/↓ moves a waiting job by one place.
  key(event) {
    const id = event.target.closest?.(".job")?.dataset.job;
    if (!id || !event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    const order = this.waiting.map((job) => job.id);
    const place = order.indexOf(id);
    if (event.key === "ArrowUp" && place > 0) this.move(id, order[place - 1]);
    if (event.key === "ArrowDown" && place < order.length - 1) this.move(id, order[place + 2]);
  }
}
