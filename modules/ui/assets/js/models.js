// The Models tab: what the worker has loaded, where, in which precision and with which attention, and why; and the
// checkpoints there are. Rows learn their architecture when they come into view: each costs reading a file's header.

const { element, button, icon, debounce, toast } = await import(`./dom.js${new URL(import.meta.url).search}`);

const EVERY_MS = 3000;
const AT_ONCE = 40;
const size = (bytes) => (bytes === null || bytes === undefined ? "–" : bytes < 2 ** 28 ? `${(bytes / 2 ** 20).toFixed(0)} MB` : `${(bytes / 2 ** 30).toFixed(2)} GB`);

export async function attachModels({ host, server }) {
  const state = element("dl", {});
  const memory = element("div", { class: "memory" });
  const why = element("ul", {});
  const loaded = element("div", { class: "loaded" });
  const unload = button("Unload all", "Let go of every model; the next picture loads what it needs", () => change("unload"), { id: "models_unload", class: "webui-button" });
  const load = button("Load the chosen checkpoint", "Load the checkpoint of the settings now", () => change("load"), { id: "models_load", class: "webui-button" });
  const said = element("p", { class: "note", role: "status" });
  const find = element("input", { type: "search", placeholder: "Search checkpoints", "aria-label": "Search checkpoints", oninput: () => filter() });
  const total = element("span", { class: "note" });
  const others = element("p", { class: "note" });
  const body = element("tbody", {});
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...["Checkpoint", "Architecture", "Hash", "Size"].map((name) => element("th", { scope: "col" }, name)))), body);
  host.replaceChildren(
    element("div", { class: "cards" },
      element("section", {}, element("h3", {}, "Worker"), state, memory, element("h4", {}, "Why so"), why),
      element("section", {}, element("h3", {}, "In memory"), loaded, element("div", { class: "acts" }, unload, load), said)),
    element("section", { class: "files" }, element("h3", {}, "Checkpoints", total, find, icon("refresh", "Look for new models", () => files(true))), element("div", { class: "scroll" }, table), others));

  // ── the worker ──────────────────────────────────────────────────────────────────────────────────────────────────

  async function refresh() {
    if (!host.offsetParent || document.hidden) return;
    const { worker, may_change: mayChange } = await server.worker({});
    draw(worker);
    unload.disabled = !mayChange || !(worker.models ?? []).length;
    load.disabled = !mayChange;
  }

  function pairs(list) {
    return list.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  }

  function draw(worker) {
    const others = [["text encoder", worker.text_dtype], ["VAE", worker.vae_dtype]].filter(([, type]) => type && type !== worker.dtype);
    state.replaceChildren(...pairs([["State", [worker.state, worker.message].filter(Boolean).join(": ")], ["Device", worker.device],
      ["Precision", worker.dtype ? [worker.dtype, ...others.map(([name, type]) => `${name} ${type}`)].join(", ") : null],
      ["Attention", worker.attention]]));
    const uses = [["Memory", worker.memory?.ram_used, worker.memory?.ram_total], ["Graphics memory", worker.memory?.vram_used, worker.memory?.vram_total]];
    memory.replaceChildren(...uses.filter(([, used, all]) => used !== null && used !== undefined && (all || all === undefined)).map(([name, used, all]) => {
      const text = all ? `${size(used)} of ${size(all)}` : size(used);
      return element("div", { class: "use" }, element("span", {}, name), element("span", { class: "value" }, text),
        all ? element("progress", { max: all, value: used, "aria-label": `${name}: ${text}` }) : null);
    }));
    why.replaceChildren(...[...(worker.reasons ?? []), ...(worker.attention_reasons ?? []), ...(worker.notes ?? [])].map((reason) => element("li", {}, reason)));
    const models = [...(worker.models ?? [])].reverse();
    loaded.replaceChildren(...models.map((model) => element("div", { class: `model ${model.in_use ? "in-use" : ""}` },
      element("strong", {}, model.name), ...(model.networks ?? []).map(({ name, applied, total }) => element("span", { class: "network" }, `${name}: ${applied} of ${total} modules applied`)),
      element("span", {}, [model.family, `${size(model.bytes)} on ${model.device}`, model.vae ? `VAE ${model.vae}` : null, model.in_use ? "in use" : null].filter(Boolean).join(" · ")))));
    if (!models.length) loaded.replaceChildren(element("p", { class: "note" }, "Nothing is loaded."));
  }

  async function change(what) {
    said.textContent = what === "load" ? "Loading…" : "Unloading…";
    unload.disabled = load.disabled = true;
    const { error } = await server.change({ do: what });
    said.textContent = error ?? "";
    await refresh();
  }

  // ── the files ───────────────────────────────────────────────────────────────────────────────────────────────────

  const rows = new Map(); // title → { row, cell, words }
  const wanted = new Set(); // titles in view whose architecture is not known yet
  const ask = debounce(60, async () => {
    const titles = [...wanted].slice(0, AT_ONCE);
    if (!titles.length) return;
    titles.forEach((title) => wanted.delete(title));
    const { architectures } = await server.architectures({ titles });
    for (const [title, name] of Object.entries(architectures)) {
      const entry = rows.get(title);
      if (!entry) continue;
      entry.cell.textContent = name;
      entry.cell.classList.toggle("problem", name.startsWith("not usable"));
      entry.words += ` ${name.toLowerCase()}`;
    }
    if (wanted.size) ask();
  });
  const inView = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      inView.unobserve(target);
      wanted.add(target.dataset.title);
    }
    if (wanted.size) ask();
  });

  async function files(again = false) {
    const answer = await server.files({ again });
    rows.clear();
    for (const { title, name, hash, bytes } of answer.checkpoints) {
      const cell = element("td", {}, "…");
      const open = element("button", { type: "button", class: "name", "aria-expanded": "false", onclick: () => toggle(title) }, name);
      const row = element("tr", {}, element("td", {}, open), cell, element("td", { class: "hash" }, hash ?? "–"), element("td", { class: "bytes" }, size(bytes)));
      row.dataset.title = title;
      rows.set(title, { row, cell, open, words: title.toLowerCase() });
    }
    body.replaceChildren(...[...rows.values()].map(({ row }) => row));
    for (const { row } of rows.values()) inView.observe(row);
    others.textContent = `Also found: ${Object.entries(answer.others).map(([kind, count]) => `${count} ${kind}`).join(", ")}`;
    filter();
  }

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const entry of rows.values()) {
      entry.row.hidden = !words.every((word) => entry.words.includes(word));
      if (entry.details) entry.details.hidden = entry.row.hidden;
      shown += entry.row.hidden ? 0 : 1;
    }
    total.textContent = shown === rows.size ? `${rows.size}` : `${shown} of ${rows.size}`;
  }

  async function toggle(title) {
    const entry = rows.get(title);
    if (entry.details) {
      entry.details.remove();
      entry.details = null;
      entry.open.setAttribute("aria-expanded", "false");
      return;
    }
    const found = await server.details({ title });
    if (found.error) { toast(found.error, "error"); return; }
    const facts = pairs([["File", found.path], ["sha256", found.sha256 ?? "not computed yet"], ["A1111's old hash", found.legacy_hash],
      ["Architecture", found.architecture], ["Stored as", found.precision], ["Made for", `${found.native_size} × ${found.native_size}`]]);
    const texts = Object.entries(found.metadata).flatMap(([key, text]) => [element("dt", {}, key), element("dd", {}, text)]);
    entry.details = element("tr", { class: "details" }, element("td", { colSpan: 4 }, element("dl", {}, ...facts),
      texts.length ? element("details", {}, element("summary", {}, `${texts.length / 2} entries of metadata`), element("dl", {}, ...texts)) : element("p", { class: "note" }, "The file holds no metadata.")));
    entry.row.after(entry.details);
    entry.open.setAttribute("aria-expanded", "true");
  }

  await Promise.all([refresh(), files()]);
  setInterval(refresh, EVERY_MS);
  new IntersectionObserver(([entry]) => { if (entry.isIntersecting) refresh(); }).observe(host);
}
