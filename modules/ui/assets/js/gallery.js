// The Gallery tab: search, filters, the grid, the picture in focus, and quick sorting by keyboard.
// Routes: modules/api/history.py.

const search = new URL(import.meta.url).search;
const load = (file) => import(`./${file}${search}`);
const [{ element, button, isTyping, debounce, toast }, { at, call }, { Pages }, { Grid, NARROW }, { Detail }, { openCompare }, { openLightbox }, { openImport }] = await Promise.all(
  ["dom.js", "http.js", "gallery_pages.js", "gallery_grid.js", "gallery_detail.js", "gallery_compare.js", "lightbox.js", "gallery_import.js"].map(load),
);

const SEARCH_AFTER_MS = 160;
const REFRESH_AFTER_MS = 700; // pictures of a batch come close together
const UNDO_FOR_MS = 12000;
const MOST_CHOSEN = 20000;
const KEPT = "webui_gallery"; // filters and tile size, in this browser
const ANY = { model: "Any model", sampler: "Any sampler", size: "Any size", lora: "Any LoRA", tag: "Any tag", kind: "Any kind" };
const ROLES = [["sample", "Pictures"], ["grid", "Grids"], ["", "Everything"]];
const KEYS = [["← → ↑ ↓", "move"], ["Enter", "enlarge"], ["Space", "choose"], ["Shift+click", "choose a range"], ["f", "favourite"], ["1–5, 0", "stars"], ["t", "tag"],
  ["Delete", "to the trash"], ["Ctrl+Z", "undo"], ["c", "compare two"], ["/", "search"], ["Esc", "choose none"]];
const STARS = [1, 2, 3, 4, 5].map((count) => "★".repeat(count)); // a rating is a tag

const dayStart = (text, plus = 0) => {
  if (!text) return "";
  const [year, month, day] = text.split("-").map(Number);
  return new Date(year, month - 1, day + plus).getTime() / 1000;
};

export class Gallery {
  constructor({ host, trigger, send, feed, config }) {
    Object.assign(this, { host, trigger, send, config });
    this.undoable = []; // ids of each deletion, newest last
    this.failed = (error) => toast(error.message, "error");
    this.pages = new Pages({ changed: () => this.changed(), failed: this.failed });
    this.grid = new Grid({ pages: this.pages, moved: () => this.showFocus(), opened: (place) => this.open(place), starred: (tile) => this.favourite([tile.id], !tile.favourite) });
    this.detail = new Detail({ failed: this.failed, actions: {
      favourite: () => this.favouriteTargets(), tag: (ids, add, remove) => this.tag(ids, add, remove), trash: () => this.trash(), restore: () => this.restore(this.targets),
      send: (target, picture) => this.send({ target, everything: true, trigger: this.trigger,
        image: { url: at(picture.file), infotext: picture.infotext, width: picture.width, height: picture.height } }),
      compare: () => this.compare(), open: () => this.open(this.grid.place), clear: () => this.clearSelection(), focusGrid: () => this.grid.root.focus(),
      close: () => this.root.classList.remove("shows-detail"),
    } });
    this.build();
    this.recall();
    const refreshSoon = debounce(REFRESH_AFTER_MS, () => { if (this.root.offsetParent) this.refresh(); });
    let images = 0;
    feed.onChange(() => {
      const now = [...feed.jobs.values()].reduce((sum, job) => sum + job.images.length, 0);
      if (now !== images) { images = now; refreshSoon(); }
    });
    new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) { this.fit(); this.refresh(); } }).observe(this.root);
    addEventListener("resize", () => this.fit());
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  build() {
    const changed = () => this.search();
    this.box = element("input", { type: "search", placeholder: "Search prompts, tags, seeds, file names", title: "Words, \"a phrase\", -without", "aria-label": "Search prompts, tags, seeds, file names", oninput: debounce(SEARCH_AFTER_MS, changed) });
    this.selects = Object.fromEntries(Object.entries(ANY).map(([name, text]) => [name, element("select", { "aria-label": text.replace("Any ", ""), onchange: changed }, element("option", { value: "" }, text))]));
    this.selects.role = element("select", { "aria-label": "what is shown", onchange: changed }, ...ROLES.map(([value, text]) => element("option", { value }, text)));
    this.since = element("input", { type: "date", "aria-label": "From this day", title: "From this day", onchange: changed });
    this.until = element("input", { type: "date", "aria-label": "To this day", title: "To this day", onchange: changed });
    const flag = (text, title, more = "") => button(text, title, (event) => { this.press(event.currentTarget); this.search(); }, { class: `webui-button flag ${more}`, "aria-pressed": "false" });
    this.favourites = flag("♥", "Favourites only");
    this.bin = flag("", "Look into the trash", "wicon wicon-trash");
    this.order = flag("Oldest first", "Oldest first");
    this.clear = button("Clear filters", "Show everything", () => this.clearFilters(), { class: "webui-button" });
    this.count = element("output", { class: "count", role: "status" });
    this.size = element("input", { type: "range", min: 90, max: 360, step: 10, value: 170, "aria-label": "Size of the thumbnails", title: "Size of the thumbnails",
      oninput: () => { this.grid.side = Number(this.size.value); this.grid.drawSoon(); this.keep(); } });
    this.menu = element("details", { class: "webui-more" }, element("summary", { class: "webui-button wicon wicon-more", title: "More", "aria-label": "More" }), element("div", { class: "webui-menu" },
      this.entry("Import a folder…", "Add older pictures, such as the outputs of another program, to the gallery", () => this.import()),
      this.entry("Forget missing files", "Drop pictures from the list whose files are gone", () => this.forget()),
      this.entry("Empty the trash…", "Delete what is in the trash for good", () => this.emptyTrash()),
      element("dl", { class: "keys" }, ...KEYS.flatMap(([key, what]) => [element("dt", {}, key), element("dd", {}, what)]))));
    this.note = element("div", { class: "empty", hidden: true });
    this.undoBar = element("div", { class: "undo", role: "status", hidden: true });
    this.knownTags = element("datalist", { id: "gallery_known_tags" });
    this.root = element("div", { class: "gallery" },
      element("div", { class: "bar" }, this.box, this.favourites, this.bin, this.order, this.count, element("span", { class: "sizing" }, this.size), this.menu),
      element("div", { class: "filters" }, ...Object.values(this.selects), element("span", { class: "dates" }, this.since, "–", this.until), this.clear),
      element("div", { class: "body" }, element("div", { class: "grid-side" }, this.grid.root, this.note, this.undoBar), this.detail.root), this.knownTags);
    this.host.replaceChildren(this.root);
  }

  // The page itself does not scroll: grid and details do, in the height that is left.
  fit() {
    if (this.root.offsetParent) this.root.style.setProperty("--top", `${Math.round(this.root.getBoundingClientRect().top + scrollY)}px`);
  }

  entry(text, title, run) {
    return button(text, title, () => { this.menu.open = false; run(); });
  }

  press(node) { node.setAttribute("aria-pressed", String(node.getAttribute("aria-pressed") !== "true")); }

  isPressed(node) { return node.getAttribute("aria-pressed") === "true"; }

  get wanted() {
    const chosen = Object.fromEntries(Object.entries(this.selects).map(([name, select]) => [name, select.value]));
    return { text: this.box.value.trim(), ...chosen, favourite: this.isPressed(this.favourites), trashed: this.isPressed(this.bin), order: this.isPressed(this.order) ? "oldest" : "",
      since: dayStart(this.since.value), until: dayStart(this.until.value, 1) };
  }

  get isFiltered() {
    const { role, order, ...rest } = this.wanted;
    return Object.values(rest).some(Boolean);
  }

  // ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────

  // A new question: from the top.
  search() {
    this.keep();
    this.grid.selected.clear();
    this.grid.clicked = null;
    this.grid.place = this.grid.anchor = 0;
    this.grid.root.scrollTop = 0;
    return this.pages.reset(this.wanted);
  }

  // The same question again, staying where one is: the same picture keeps the focus if it is still there. Where one is
  // when the answer comes, that is: keys and searches do not wait for it.
  async refresh() {
    const choices = this.refreshChoices();
    const answer = await this.pages.ask(this.wanted, this.grid.place);
    if (answer) {
      const focused = this.followsTheNewest ? undefined : this.tile?.id;
      this.pages.take(answer);
      const place = focused === undefined ? -1 : this.pages.placeOf(focused);
      if (place >= 0 && place !== this.grid.place) {
        this.grid.place = place;
        this.changed();
      }
    }
    await choices;
  }

  // Whether nobody is busy with the first picture, so that one that arrives may take its place.
  get followsTheNewest() {
    const isAtTop = this.grid.place === 0 && this.grid.root.scrollTop === 0 && !this.grid.selected.size;
    return isAtTop && !this.root.contains(document.activeElement) && !this.root.classList.contains("shows-detail") && !document.querySelector(".webui-lightbox");
  }

  async refreshChoices() {
    let choices;
    try { choices = await call("history/choices"); } catch (error) { this.failed(error); return; }
    for (const name of Object.keys(ANY)) {
      const select = this.selects[name];
      const wanted = select.value;
      const entries = Object.entries(choices[name]);
      if (wanted && !(wanted in choices[name])) entries.push([wanted, 0]);
      select.replaceChildren(element("option", { value: "" }, ANY[name]), ...entries.map(([value, count]) => element("option", { value }, `${value} (${count})`)));
      select.value = wanted;
      select.hidden = entries.length === 0;
    }
    this.knownTags.replaceChildren(...Object.keys(choices.tag).map((value) => element("option", { value })));
  }

  clearFilters() {
    this.box.value = this.since.value = this.until.value = "";
    for (const name of Object.keys(ANY)) this.selects[name].value = "";
    this.selects.role.value = "sample";
    for (const node of [this.favourites, this.bin]) node.setAttribute("aria-pressed", "false");
    this.search();
  }

  // Filters and tile size outlive a reload; the trash is left.
  keep() {
    const { text, model, sampler, size, lora, tag, kind, role, favourite, order } = this.wanted;
    const kept = { text, choices: { model, sampler, size, lora, tag, kind, role }, favourite, order, days: [this.since.value, this.until.value], side: this.grid.side };
    localStorage.setItem(KEPT, JSON.stringify(kept));
  }

  recall() {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    this.box.value = kept.text ?? "";
    [this.since.value, this.until.value] = kept.days ?? ["", ""];
    for (const [name, value] of Object.entries(kept.choices ?? {})) {
      if (name !== "role" && value) this.selects[name].append(element("option", { value }, value));
      this.selects[name].value = value;
    }
    for (const [node, on] of [[this.favourites, kept.favourite], [this.order, kept.order === "oldest"]]) node.setAttribute("aria-pressed", String(Boolean(on)));
    this.grid.side = kept.side ?? this.grid.side;
    this.size.value = this.grid.side;
  }

  get tile() { return this.pages.at(this.grid.place); }

  // What an action is for: the chosen pictures, else the one in focus.
  get targets() { return this.grid.selected.size ? [...this.grid.selected] : this.tile ? [this.tile.id] : []; }

  changed() {
    const total = this.pages.total ?? 0;
    this.grid.place = Math.max(0, Math.min(this.grid.place, total - 1));
    this.grid.draw();
    this.root.classList.toggle("in-trash", this.isPressed(this.bin));
    this.count.textContent = this.pages.total === null ? "" : `${total.toLocaleString()} ${total === 1 ? "picture" : "pictures"}`;
    this.clear.style.visibility = this.isFiltered ? "visible" : "hidden";
    this.note.hidden = total > 0 || this.pages.total === null;
    if (!this.note.hidden) this.drawNote();
    this.showFocus();
  }

  drawNote() {
    const say = (text, ...more) => this.note.replaceChildren(element("p", {}, text), ...more);
    if (this.isPressed(this.bin)) say("The trash is empty.");
    else if (this.isFiltered || this.selects.role.value !== "sample") say("No picture fits.", button("Clear filters", "Show everything", () => this.clearFilters(), { class: "webui-button" }));
    else say("What you make is listed here by itself. Older pictures can be added.", button("Import a folder…", "Import a folder", () => this.import(), { class: "webui-button" }));
  }

  showFocus() { this.detail.show(this.tile, this.targets); }

  clearSelection() {
    this.grid.selected.clear();
    this.changed();
  }

  // ── what is done with pictures ───────────────────────────────────────────────────────────────────────────────

  async attempt(work) {
    try {
      return await work();
    } catch (error) {
      this.failed(error);
      await this.refresh();
      return null;
    }
  }

  // Some files could not be moved or deleted, the others were.
  tellProblem({ problem }) { if (problem) toast(problem, "error"); }

  favouriteTargets() {
    return this.targets.length ? this.favourite(this.targets, !this.tile?.favourite) : null;
  }

  favourite(ids, favourite) {
    this.pages.patch(ids, () => ({ favourite }));
    return this.attempt(() => call("history/favourite", { ids, favourite }));
  }

  async tag(ids, add, remove) {
    const same = (one, other) => one.toLowerCase() === other.toLowerCase();
    this.pages.patch(ids, (tile) => {
      const kept = tile.tags.filter((tag) => !remove.some((gone) => same(gone, tag)));
      return { tags: [...kept, ...add.filter((tag) => !kept.some((one) => same(one, tag)))] };
    });
    if (await this.attempt(() => call("history/tags", { ids, add, remove }))) await this.refreshChoices();
  }

  rate(stars, ids = this.targets) {
    if (ids.length) this.tag(ids, stars ? [STARS[stars - 1]] : [], STARS.filter((tag) => tag.length !== stars));
  }

  async trash(ids = this.targets) {
    if (!ids.length || this.isPressed(this.bin)) return;
    const answer = await this.attempt(() => call("history/trash", { ids }));
    if (!answer) return;
    this.tellProblem(answer);
    for (const id of answer.ids) this.grid.selected.delete(id);
    this.undoable.push(answer.ids);
    this.offerUndo(answer.ids.length);
    await this.pages.reset(this.wanted, this.grid.place);
  }

  offerUndo(count) {
    this.undoBar.replaceChildren(element("span", {}, count === 1 ? "Moved to the trash." : `${count} pictures moved to the trash.`), button("Undo", "Undo (Ctrl+Z)", () => this.undo(), { class: "webui-button" }));
    this.undoBar.hidden = false;
    clearTimeout(this.undoTimer);
    this.undoTimer = setTimeout(() => { this.undoBar.hidden = true; }, UNDO_FOR_MS);
  }

  undo() {
    const ids = this.undoable.pop();
    this.undoBar.hidden = true;
    return ids ? this.restore(ids) : null;
  }

  async restore(ids) {
    if (!ids.length) return;
    const answer = await this.attempt(() => call("history/restore", { ids }));
    if (!answer) return;
    this.tellProblem(answer);
    if (!answer.problem && answer.ids.length < ids.length) toast(`${ids.length - answer.ids.length} could not be brought back: their files are not in the trash any more.`, "error");
    this.grid.selected.clear();
    await this.pages.reset(this.wanted, this.grid.place);
    const place = this.pages.placeOf(answer.ids[0]);
    if (place >= 0) this.grid.moveTo(place);
  }

  compare() {
    const ids = [...this.grid.selected];
    if (ids.length !== 2) { toast("Choose two pictures to compare: Ctrl+click both."); return; }
    this.attempt(() => openCompare(ids));
  }

  open(place) {
    const tile = this.pages.at(place);
    if (!tile) return;
    if (matchMedia(NARROW).matches) { this.grid.moveTo(place); this.root.classList.add("shows-detail"); return; }
    const image = (one) => one && { ...one, url: at(one.file) };
    const step = (by) => {
      if (this.pages.at(this.grid.place + by)) this.grid.moveTo(this.grid.place + by);
      return image(this.tile);
    };
    const stay = (run) => async (shown) => { await run(shown); return image(this.tile); };
    const stars = Object.fromEntries([0, 1, 2, 3, 4, 5].map((count) => [String(count), stay(({ id }) => this.rate(count, [id]))]));
    openLightbox({ image: image(tile), step, zoomed: this.config.js_modal_lightbox_initially_zoomed, save: (one) => this.download(one), label: (one) => [one.favourite ? "♥" : "", ...one.tags].join(" ").trim(),
      more: { f: stay(({ id, favourite }) => this.favourite([id], !favourite)), Delete: stay(({ id }) => this.trash([id])), "Ctrl+z": stay(() => this.undo()), ...stars } });
  }

  download(tile) {
    element("a", { href: at(`${tile.file}&download=1`), download: tile.name }).click();
  }

  import() { openImport({ host: this.root, imported: () => this.refresh(), failed: this.failed }); }

  async forget() {
    const answer = await this.attempt(() => call("history/forget-missing", {}));
    if (!answer) return;
    toast(answer.count === 1 ? "One picture is forgotten." : `${answer.count} pictures are forgotten.`);
    this.refresh();
  }

  async emptyTrash() {
    if (!confirm("Delete everything in the trash for good?")) return;
    const answer = await this.attempt(() => call("history/empty-trash", {}));
    if (!answer) return;
    this.tellProblem(answer);
    toast(`${answer.count} deleted for good.`);
    this.undoable = [];
    this.undoBar.hidden = true;
    this.refresh();
  }

  // ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────

  key(event) {
    if (isTyping(event.target)) {
      if (event.target === this.box && ["Enter", "ArrowDown"].includes(event.key)) { event.preventDefault(); this.grid.root.focus(); }
      return;
    }
    if (event.target.matches?.("select, input, summary") || event.target.closest?.("dialog")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) { this.chord(event); return; }
    const isOnGrid = event.target === this.grid.root;
    const next = isOnGrid ? this.grid.placeAfter(event.key) : null;
    if (next !== null) {
      event.preventDefault();
      if (event.shiftKey) this.grid.selectRange(this.grid.anchor, next);
      else this.grid.anchor = next;
      this.grid.moveTo(next);
      return;
    }
    const actions = { f: () => this.favouriteTargets(), Delete: () => this.trash(), Backspace: () => this.trash(), c: () => this.compare(), t: () => this.detail.tagBox.focus(), "/": () => this.box.focus(), Escape: () => this.clearSelection() };
    if (isOnGrid) Object.assign(actions, { Enter: () => this.open(this.grid.place), " ": () => this.toggleFocused() });
    if (/^[0-5]$/.test(event.key)) actions[event.key] = () => this.rate(Number(event.key));
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  toggleFocused() {
    if (!this.tile) return;
    this.grid.toggle(this.tile);
    this.grid.anchor = this.grid.place;
    this.changed();
  }

  chord(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    if (event.key === "z" && this.undoable.length) {
      event.preventDefault();
      this.undo();
    } else if (event.key === "a" && event.target === this.grid.root && this.pages.total) {
      event.preventDefault();
      this.grid.selectRange(0, Math.min(this.pages.total, MOST_CHOSEN) - 1);
    }
  }
}
