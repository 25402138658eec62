// "Generate forever": a menu on Generate and Interrupt (right click, menu key, long touch). While it is on, Generate is
// pressed whenever none of the tab's jobs waits or runs; a refusal or a failed job ends it. And: word of what is done
// for a person who looks elsewhere, by sound and, once allowed, by the desktop.

const search = new URL(import.meta.url).search;
const { toast } = await import(`./dom.js${search}`);
const { openMenu } = await import(`./menu.js${search}`);
const { isOver } = await import(`./jobs.js${search}`);

const EVERY_MS = 500; // A1111 looks as often
const LONG_TOUCH_MS = 600;
const TONES = [[660, 0], [880, 0.16]]; // Hz, seconds from the start
const BUTTON = /^(txt2img|img2img|inpaint)_(generate|interrupt)$/;

export class Forever {
  constructor({ panels, feed }) {
    Object.assign(this, { panels, feed });
    this.timers = new Map(); // tab → interval
    this.since = new Map(); // tab → number of jobs when it was switched on
    this.pending = new Map(); // tab → the panel's answers when Generate was pressed, until the next one comes
  }

  isOn(tab) { return this.timers.has(tab); }

  start(tab) {
    if (this.isOn(tab)) return;
    const panel = this.panels.get(tab);
    this.since.set(tab, panel.ids.length);
    this.pending.delete(tab);
    this.timers.set(tab, setInterval(() => this.look(tab), EVERY_MS));
    document.getElementById(`${tab}_generate`)?.classList.add("is-forever");
    this.look(tab);
  }

  stop(tab, why = "") {
    clearInterval(this.timers.get(tab));
    this.timers.delete(tab);
    document.getElementById(`${tab}_generate`)?.classList.remove("is-forever");
    if (why) toast(`Generate forever has ended: ${why}`);
  }

  look(tab) {
    const panel = this.panels.get(tab);
    if (this.pending.get(tab) === panel.answers) return;
    const pressed = this.pending.delete(tab);
    if (pressed && panel.refusal) { this.stop(tab, panel.refusal); return; }
    const known = panel.ids.filter((id) => this.feed.wanted.has(id)).map((id) => this.feed.jobs.get(id));
    if (known.some((job) => !job || !isOver(job))) return;
    const failed = panel.ids.slice(this.since.get(tab)).map((id) => this.feed.jobs.get(id)).find((job) => job?.state === "failed");
    if (failed) { this.stop(tab, failed.error?.message ?? "a job failed"); return; }
    this.pending.set(tab, panel.answers);
    document.getElementById(`${tab}_generate`).click();
  }
}

export function watchForever({ panels, feed, config }) {
  const forever = new Forever({ panels, feed });

  function open(target, x, y) {
    const found = target.closest?.("button")?.id.match(BUTTON);
    if (!found || !panels.has(found[1])) return false;
    const tab = found[1];
    const entries = [forever.isOn(tab) ? ["Cancel generate forever", () => forever.stop(tab)] : ["Generate forever", () => forever.start(tab)]];
    if (globalThis.Notification?.permission === "default") entries.push(["Notify me when pictures are done", () => Notification.requestPermission()]);
    openMenu(entries, x, y, document.getElementById(`${tab}_generate`));
    return true;
  }

  document.addEventListener("contextmenu", (event) => {
    const box = event.target.getBoundingClientRect?.();
    const [x, y] = event.clientX || !box ? [event.clientX, event.clientY] : [box.left, box.bottom];
    if (open(event.target, x, y)) event.preventDefault();
  });
  // Safari on a phone sends no contextmenu.
  let touch = 0;
  document.addEventListener("touchstart", (event) => {
    const [{ clientX, clientY }] = event.touches;
    touch = setTimeout(() => open(event.target, clientX, clientY), LONG_TOUCH_MS);
  }, { passive: true });
  for (const kind of ["touchend", "touchmove", "touchcancel"]) document.addEventListener(kind, () => clearTimeout(touch), { passive: true });

  const states = new Map(); // job id → state last heard of
  feed.onChange((job) => {
    const before = states.get(job.id);
    states.set(job.id, job.state);
    const mine = [...panels.values()].find((panel) => panel.ids.includes(job.id));
    const isAwaited = ["queued", "running"].includes(before) || (!before && mine?.submitted.has(job.id)); // over before it was heard of
    if (mine && isAwaited && ["done", "failed"].includes(job.state) && !document.hasFocus()) tell(job, config);
  });
  return forever;
}

function tell(job, config) {
  if (config.notification_audio && job.state === "done") play((config.notification_volume ?? 100) / 100);
  if (globalThis.Notification?.permission !== "granted") return;
  const text = job.state === "done" ? "Your pictures are done." : `A job failed: ${job.error?.message ?? ""}`;
  const note = new Notification("Stable Diffusion", { body: text, tag: `webui-${job.id}` });
  note.onclick = () => { window.focus(); note.close(); };
}

// Two short tones; a browser that was never clicked in stays silent.
function play(volume) {
  const audio = new AudioContext();
  const loudness = audio.createGain();
  loudness.gain.value = 0.2 * volume;
  loudness.connect(audio.destination);
  for (const [pitch, start] of TONES) {
    const tone = new OscillatorNode(audio, { frequency: pitch });
    tone.connect(loudness);
    tone.start(audio.currentTime + start);
    tone.stop(audio.currentTime + start + 0.14);
  }
  setTimeout(() => audio.close(), 1000);
}
