// Jobs as the server has them (routes: modules/api/jobs.py). One event stream serves the whole page; whoever shows a
// job subscribes to its record and is told of every change, also after a reload or a lost connection.

const at = (path) => new URL(path, document.baseURI).href;

async function json(path, options) {
  const answer = await fetch(at(path), { credentials: "same-origin", ...options });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

const PASSES = { hires: "Hires. fix", search: "Finding the noise" };

export const isOver = (job) => ["done", "failed", "interrupted", "cancelled"].includes(job.state);

export class JobFeed {
  constructor() {
    this.jobs = new Map(); // id → Job, kept up to date
    this.listeners = new Set();
    this.strangers = new Set();
    this.wanted = new Set();
    this.source = null;
  }

  // Keep these jobs' records; `changed(job)` is called for every job the page knows.
  onChange(changed) { this.listeners.add(changed); }

  // `heard(id)` is called when a job that this page does not follow begins to wait: asked for elsewhere.
  onStranger(heard) { this.strangers.add(heard); }

  async follow(ids) {
    const unknown = ids.filter((id) => !this.wanted.has(id));
    unknown.forEach((id) => this.wanted.add(id));
    if (!unknown.length) return;
    this.open();
    await Promise.all(unknown.map((id) => this.refresh(id)));
  }

  async refresh(id) {
    const job = await json(`jobs/${encodeURIComponent(id)}`);
    if (job) this.put(job);
    else this.wanted.delete(id);
  }

  put(job) {
    const before = this.jobs.get(job.id);
    if (before && isOver(before) && !isOver(job)) return; // a late answer
    this.jobs.set(job.id, job);
    this.listeners.forEach((changed) => changed(job));
  }

  open() {
    if (this.source) return;
    this.source = new EventSource(at("jobs/events"));
    const merge = {
      queued: (job, { position }) => ({ ...job, position }),
      started: (job) => ({ ...job, state: "running", position: null, started: job.started ?? Date.now() / 1000 }),
      model_loading: (job, { title }) => ({ ...job, state: "running", text: `Loading ${title}` }),
      pass: (job, { name, batch, batches, steps }) => ({ ...job, state: "running", text: PASSES[name] ?? "", batch, batches, steps }),
      step: (job, { step, steps, progress, eta_s: eta, preview }) => ({ ...job, state: "running", step, steps, progress, eta_s: eta, preview: preview ?? job.preview }),
      image: (job, image) => (job.images.some((known) => known.id === image.id) ? job : { ...job, images: [...job.images, image] }),
      notice: (job, { message }) => ({ ...job, notices: [...job.notices, message] }),
    };
    for (const [kind, change] of Object.entries(merge)) {
      this.source.addEventListener(kind, (event) => {
        const data = JSON.parse(event.data);
        const job = this.jobs.get(data.job);
        if (job) this.put(change(job, data));
        else if (kind === "queued" && !this.wanted.has(data.job)) this.strangers.forEach((heard) => heard(data.job));
      });
    }
    for (const kind of ["done", "failed", "interrupted", "cancelled"]) {
      this.source.addEventListener(kind, (event) => {
        const data = JSON.parse(event.data);
        if (this.wanted.has(data.job)) this.put(data.id ? data : { ...this.jobs.get(data.job), state: kind });
      });
    }
    // What happened before the stream stood, or while it was broken, is in the records.
    this.source.addEventListener("open", () => {
      for (const id of this.wanted) if (!this.jobs.has(id) || !isOver(this.jobs.get(id))) this.refresh(id);
    });
  }

  // "interrupt", "skip", "cancel", "retry" …; answers the job as it is afterwards.
  async steer(id, action) {
    const job = await json(`jobs/${encodeURIComponent(id)}/${action}`, { method: "POST" });
    if (job) { this.wanted.add(job.id); this.put(job); }
    return job;
  }
}
