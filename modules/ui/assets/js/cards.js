// Extra networks: a strip of pages below the prompts, and on each page the model files as cards.
// Routes: modules/api/cards.py. Names, descriptions and notes are shown as text, never as HTML.

const search = new URL(import.meta.url).search;
const { element, button, icon, debounce, toast } = await import(`./dom.js${search}`);
const { at, call, query } = await import(`./http.js${search}`);
const { toggleText } = await import(`./cards_insert.js${search}`);
const { replaceText } = await import(`./prompts.js${search}`);
const { openCardEditor, openMetadata } = await import(`./cards_editor.js${search}`);

const PAGES = { textual_inversion: "Textual Inversion", hypernetworks: "Hypernetworks", checkpoints: "Checkpoints", lora: "Lora" };
const WHERE = { textual_inversion: "embeddings", hypernetworks: "models/hypernetworks", checkpoints: "models/Stable-diffusion", lora: "models/Lora" };
const ORDERS = ["Path", "Name", "Date Created", "Date Modified"];
const AT_ONCE = 150; // cards drawn before one scrolls on
const HIDDEN_FROM_LETTERS = 4; // A1111: cards in folders with a dot appear once so many letters are searched for

// What the server answered, for all tabs of the page.
const known = new Map(); // request → promise
const fetchCards = (kind, checkpoint, again = false) => {
  const key = `cards/${kind}?${query({ checkpoint: kind === "lora" ? checkpoint : "" })}`;
  if (again || !known.has(key)) known.set(key, call(key).catch((error) => { known.delete(key); throw error; }));
  return known.get(key);
};

export class CardsPanel {
  // `order` names pages, "Lora, Checkpoints": they come first.
  constructor({ tab, order, host, trigger, selectedImage }) {
    Object.assign(this, { tab, order, trigger, selectedImage });
    this.kind = null; // null: the Generation page
    this.folder = "";
    this.cards = [];
    this.failed = (error) => toast(error.message, "error");
    this.build(host);
    this.tabRoot = document.getElementById(`tab_${tab}`);
    this.tabRoot.addEventListener("focusin", (event) => { if (event.target.matches?.(this.boxes)) this.focused = event.target; });
    new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) this.drawMore(); }).observe(this.end);
  }

  get boxes() { return `#${this.tab}_prompt textarea, #${this.tab}_neg_prompt textarea, #${this.tab}_hr_prompt textarea, #${this.tab}_hr_neg_prompt textarea`; }

  // As the drop-down above the tabs shows it: its title, or that without folder and extension.
  get checkpoint() { return document.querySelector("#setting_sd_model_checkpoint input")?.value ?? ""; }

  pagesInOrder() {
    const wanted = this.order.toLowerCase().split(",").map((name) => name.trim());
    const rank = ([, text]) => (wanted.includes(text.toLowerCase()) ? wanted.indexOf(text.toLowerCase()) : wanted.length);
    return Object.entries(PAGES).sort((one, other) => rank(one) - rank(other));
  }

  build(host) {
    const page = (kind, text) => button(text, text, () => this.show(kind), { role: "tab", "aria-selected": String(kind === null), id: `${this.tab}_cards_${kind ?? "generation"}` });
    this.pages = new Map([[null, page(null, "Generation")], ...this.pagesInOrder().map(([kind, text]) => [kind, page(kind, text)])]);
    this.strip = element("div", { class: "strip", role: "tablist", "aria-label": "Generation and extra networks", onkeydown: (event) => this.stripKey(event) }, ...this.pages.values());
    this.box = element("input", { type: "search", placeholder: "Search", "aria-label": "Search cards", oninput: debounce(80, () => this.draw()) });
    this.order = element("select", { "aria-label": "Order", onchange: () => this.draw() }, ...ORDERS.map((order) => element("option", {}, order)));
    this.down = button("↓", "Turn the order round", () => this.flip(this.down), { class: "webui-button flag", "aria-pressed": "false" });
    this.foldersOn = icon("open", "Show folders", () => this.flip(this.foldersOn), { class: "webui-button flag", "aria-pressed": "true" });
    this.again = icon("refresh", "Look for new files", () => this.refresh(), { class: "webui-button" });
    this.count = element("output", { class: "count", role: "status" });
    this.folders = element("div", { class: "folders", "aria-label": "Folders" });
    this.list = element("div", { class: "list", role: "list" });
    this.end = element("div", { class: "end" });
    this.note = element("p", { class: "note", hidden: true });
    this.body = element("div", { class: "body", hidden: true }, element("div", { class: "bar" }, this.box, this.order, this.down, this.foldersOn, this.again, this.count),
      element("div", { class: "columns" }, this.folders, element("div", { class: "scroll" }, this.note, this.list, this.end)));
    host.replaceChildren(element("div", { class: "cards" }, this.strip, this.body));
  }

  stripKey(event) {
    const kinds = [...this.pages.keys()];
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    this.show(kinds[(kinds.indexOf(this.kind) + by + kinds.length) % kinds.length]);
    this.pages.get(this.kind).focus();
  }

  flip(node) {
    node.setAttribute("aria-pressed", String(node.getAttribute("aria-pressed") !== "true"));
    this.draw();
  }

  isOn(node) { return node.getAttribute("aria-pressed") === "true"; }

  async show(kind) {
    this.kind = kind;
    for (const [one, node] of this.pages) { node.setAttribute("aria-selected", String(one === kind)); node.tabIndex = one === kind ? 0 : -1; }
    this.body.hidden = kind === null;
    this.tabRoot.classList.toggle("shows-cards", kind !== null);
    if (kind === null) return;
    this.folder = "";
    this.list.replaceChildren();
    await this.load();
  }

  async load(again = false) {
    const { kind } = this;
    let answer;
    try { answer = await fetchCards(kind, this.checkpoint, again); } catch (error) { this.failed(error); return; }
    if (kind !== this.kind) return;
    this.answer = answer;
    if (!this.options) this.takeOptions(answer.options);
    this.options = answer.options;
    this.draw();
  }

  // The settings decide how the pages open; the buttons what is done with them from then on.
  takeOptions(options) {
    this.order.value = options.extra_networks_card_order_field;
    this.down.setAttribute("aria-pressed", String(options.extra_networks_card_order === "Descending"));
    this.foldersOn.setAttribute("aria-pressed", String(options.extra_networks_tree_view_default_enabled));
    const { style } = this.list;
    if (options.extra_networks_card_width) style.setProperty("--card-width", `${options.extra_networks_card_width}px`);
    if (options.extra_networks_card_height) style.setProperty("--card-height", `${options.extra_networks_card_height}px`);
    style.setProperty("--card-text", String(options.extra_networks_card_text_scale));
    this.folders.style.setProperty("--tree-width", `${options.extra_networks_tree_view_default_width}px`);
  }

  async refresh() {
    try { await call("cards/refresh", {}); } catch (error) { this.failed(error); return; }
    known.clear();
    await this.load();
  }

  // ── drawing ──────────────────────────────────────────────────────────────────────────────────────────────────

  fitting() {
    const words = this.box.value.trim().toLowerCase();
    const hidden = this.options.extra_networks_hidden_models;
    const showsHidden = hidden === "Always" || (hidden === "When searched" && words.length >= HIDDEN_FROM_LETTERS);
    return this.answer.cards.filter((card) => card.search.toLowerCase().includes(words) && (showsHidden || !card.is_hidden)
      && (!this.folder || card.folder === this.folder || card.folder.startsWith(`${this.folder}/`)));
  }

  sorted(cards) {
    const same = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
    const ways = {
      Path: (one, other) => same.compare(one.path, other.path), Name: (one, other) => same.compare(one.name, other.name),
      "Date Created": (one, other) => one.created - other.created, "Date Modified": (one, other) => one.modified - other.modified,
    };
    const order = [...cards].sort(ways[this.order.value]);
    return this.isOn(this.down) ? order.reverse() : order;
  }

  draw() {
    if (!this.answer) return;
    this.cards = this.sorted(this.fitting());
    const total = this.answer.cards.length;
    this.count.textContent = this.cards.length === total ? `${total}` : `${this.cards.length} of ${total}`;
    this.down.textContent = this.isOn(this.down) ? "↑" : "↓";
    this.drawFolders();
    this.list.replaceChildren();
    this.note.hidden = this.cards.length > 0;
    this.note.textContent = total ? "Nothing fits." : `Nothing here yet. Put files into ${WHERE[this.kind]} and look again.`;
    this.drawMore();
  }

  drawMore() {
    const drawn = this.list.children.length;
    if (drawn < this.cards.length) this.list.append(...this.cards.slice(drawn, drawn + AT_ONCE).map((card) => this.cardOf(card)));
  }

  drawFolders() {
    const shown = Object.entries(this.answer.folders).filter(([name]) => this.options.extra_networks_show_hidden_directories || !/(^|\/)\./.test(name));
    const isTree = this.options.extra_networks_tree_view_style === "Tree";
    this.body.classList.toggle("is-tree", isTree);
    this.folders.hidden = !this.isOn(this.foldersOn) || shown.length === 0;
    const entry = (name, text, count) => {
      const node = button(text, name || "All folders", () => { this.folder = this.folder === name ? "" : name; this.draw(); }, { class: "webui-button folder", "aria-pressed": String(this.folder === name) });
      if (count !== null) node.append(element("small", {}, String(count)));
      if (isTree) node.style.paddingLeft = `${8 + 14 * (name ? name.split("/").length : 0)}px`;
      return node;
    };
    this.folders.replaceChildren(entry("", "All", null), ...shown.map(([name, count]) => entry(name, isTree ? name.split("/").pop() : name, count)));
  }

  cardOf(card) {
    const picture = card.preview ? element("img", { src: at(card.preview), alt: "", loading: "lazy", draggable: false }) : element("span", { class: "no-preview wicon wicon-picture", "aria-hidden": "true" });
    const tools = element("span", { class: "tools" },
      icon("copy", "Copy the file's path below its folder", () => { navigator.clipboard?.writeText(card.path); toast(card.path); }),
      card.has_metadata ? button("i", "Metadata in the file", () => openMetadata(this.kind, card, this.failed), { class: "info" }) : null,
      icon("style", "Edit notes and preview", () => this.edit(card)));
    tools.addEventListener("click", (event) => event.stopPropagation());
    tools.addEventListener("keydown", (event) => event.stopPropagation());
    const isChosen = this.kind === "checkpoints" && [card.title, card.short_title].includes(this.checkpoint);
    const node = element("div", { class: `card ${isChosen ? "chosen" : ""}`, role: "listitem" },
      element("button", { type: "button", class: "face", title: card.path, "aria-label": card.name, onclick: () => this.choose(card) }, picture,
        element("span", { class: "words" }, element("span", { class: "name" }, card.name),
          this.options.extra_networks_card_show_desc && card.description ? element("span", { class: "description" }, card.description) : null),
        card.version && card.version !== "Unknown" ? element("span", { class: "version" }, card.version) : null), tools);
    return node;
  }

  // ── what a click does ────────────────────────────────────────────────────────────────────────────────────────

  choose(card) {
    if (this.kind === "checkpoints") {
      this.trigger("checkpoint", { title: card.title });
      for (const node of this.list.querySelectorAll(".chosen")) node.classList.remove("chosen");
      this.list.children[this.cards.indexOf(card)]?.classList.add("chosen");
      return;
    }
    const main = document.querySelector(`#${this.tab}_prompt textarea`);
    const box = this.focused?.isConnected ? this.focused : main;
    const separator = this.options.extra_networks_add_text_separator;
    const edit = (target, text) => {
      const { value, added } = toggleText(target.value, text, separator);
      const at = target.selectionStart;
      const end = added ? value.length : Math.min(at, value.length);
      replaceText(target, 0, target.value.length, value, [end, end]);
    };
    edit(box, card.prompt);
    const negative = document.querySelector(`#${this.tab}_neg_prompt textarea`);
    if (card.negative && box !== negative) { edit(negative, card.negative); box.focus(); }
  }

  edit(card) {
    openCardEditor({ kind: this.kind, title: PAGES[this.kind], card, selectedImage: this.selectedImage, failed: this.failed,
      saved: () => { known.clear(); return this.load(); } });
  }
}
