// Interrupt and Skip beside Generate. Their state is the job's, not a guess of the browser.

const search = new URL(import.meta.url).search;
const { element } = await import(`./dom.js${search}`);
const { isOver } = await import(`./jobs.js${search}`);

// A1111: with more than one batch to go, the first Interrupt lets the one in hand finish; the second ends it now.
export async function interrupt(panel, feed, config) {
  const job = panel?.running;
  if (!job) return;
  const isFirst = !panel.asked.has(job.id);
  panel.asked.add(job.id);
  const waits = isFirst && config.interrupt_after_current && (job.batches ?? 1) > 1;
  await feed.steer(job.id, waits ? "interrupt?after=batch" : "interrupt");
}

export async function skip(panel, feed) {
  if (panel?.running) await feed.steer(panel.running.id, "skip");
}

export function attachSteering({ tab, host, feed, panels, config }) {
  const stop = element("button", { type: "button", id: `${tab}_interrupt`, class: "webui-button", title: "Interrupt (Esc)",
    onclick: () => interrupt(panels.get(tab), feed, config) }, "Interrupt");
  const next = element("button", { type: "button", id: `${tab}_skip`, class: "webui-button", title: "Skip (Alt+Enter)",
    onclick: () => skip(panels.get(tab), feed) }, "Skip");
  host.replaceChildren(stop, next);

  function refresh() {
    const panel = panels.get(tab);
    const job = panel?.running;
    stop.disabled = !job;
    next.disabled = !job || isOver(job);
    stop.textContent = job && panel.asked.has(job.id) ? "Interrupting…" : "Interrupt";
  }

  feed.onChange(refresh);
  refresh();
}
