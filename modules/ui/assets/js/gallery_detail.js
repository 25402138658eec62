// What is known of the picture in focus, and what can be done with it. Everything shown is text, never HTML.

const search = new URL(import.meta.url).search;
const { element, button, icon } = await import(`./dom.js${search}`);
const { at, call } = await import(`./http.js${search}`);
const { dragFile } = await import(`./gallery_grid.js${search}`);

const ASK_AFTER_MS = 90; // while an arrow key is held, pictures rush by

const bytes = (count) => (count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`);
const when = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export class Detail {
  // `actions`: favourite, tag(ids, add, remove), trash, restore, send(target, picture), compare, open, close, clear.
  constructor({ actions, failed }) {
    Object.assign(this, { actions, failed });
    this.picture = null;
    this.image = element("img", { alt: "", draggable: true, title: "Enlarge (Enter). Drag it out to get the file",
      onclick: () => actions.open(), ondragstart: (event) => { if (this.picture) dragFile(event, this.picture); } });
    this.stage = element("div", { class: "stage" }, this.image);
    this.title = element("h3", {});
    this.heart = button("♥", "Favourite (f)", () => actions.favourite(), { class: "heart webui-button" });
    this.bin = icon("trash", "Move to the trash (Delete)", () => actions.trash(), { class: "webui-button bin" });
    this.back = icon("undo", "Bring back from the trash", () => actions.restore(), { class: "webui-button back" });
    this.both = button("Compare", "Compare the two chosen pictures (c)", () => actions.compare(), { class: "webui-button both" });
    this.unchoose = button("Clear selection", "Choose none (Esc)", () => actions.clear(), { class: "webui-button unchoose" });
    this.sends = element("div", { class: "sends" }, element("span", { class: "label" }, "Send to"),
      ...["txt2img", "img2img", "inpaint", "extras"].map((target) => button(target, `Send picture and parameters to ${target}`,
        () => { if (this.picture) actions.send(target, this.picture); }, { class: "webui-button", id: `gallery_send_to_${target}` })));
    this.download = element("a", { class: "webui-button wicon wicon-save", title: "Download the file, metadata included", "aria-label": "Download the file, metadata included" });
    this.copy = icon("copy", "Copy the parameters", () => { if (this.picture) navigator.clipboard?.writeText(this.picture.infotext); }, { class: "webui-button" });
    this.tags = element("span", { class: "tags" });
    this.tagBox = element("input", { type: "text", placeholder: "Add a tag", "aria-label": "Add a tag", maxLength: 100, list: "gallery_known_tags",
      onkeydown: (event) => this.tagKey(event) });
    this.tagBox.setAttribute("list", "gallery_known_tags");
    this.facts = element("div", { class: "facts" });
    this.root = element("aside", { class: "detail", "aria-label": "Picture" },
      icon("close", "Close", () => actions.close(), { class: "webui-button close" }), this.stage,
      element("div", { class: "head" }, this.title, this.heart, this.download, this.copy, this.back, this.bin), this.sends,
      element("div", { class: "many" }, this.both, this.unchoose), element("div", { class: "tagging" }, this.tags, this.tagBox), this.facts);
    this.show(null, []);
  }

  // The tile in focus (or null) and the ids that actions are for.
  show(tile, ids) {
    this.ids = ids;
    this.tile = tile;
    const many = ids.length > 1;
    this.root.classList.toggle("empty", !tile);
    this.root.classList.toggle("is-many", many);
    this.root.classList.toggle("is-two", ids.length === 2);
    this.title.textContent = many ? `${ids.length} pictures chosen` : tile?.name ?? "";
    this.heart.setAttribute("aria-pressed", String(Boolean(tile?.favourite)));
    this.tagBox.placeholder = many ? `Tag ${ids.length} pictures` : "Add a tag";
    clearTimeout(this.timer);
    if (!tile) { this.picture = null; this.image.hidden = true; this.facts.replaceChildren(); this.tags.replaceChildren(); return; }
    this.drawTags(tile);
    if (this.picture?.id === tile.id) return;
    this.picture = null;
    this.image.hidden = false;
    this.image.src = at(tile.thumb); // in the cache already; the file itself follows
    this.download.href = at(`${tile.file}&download=1`);
    this.download.download = tile.name;
    this.timer = setTimeout(() => this.load(tile), ASK_AFTER_MS);
  }

  async load(tile) {
    const full = new Image();
    full.onload = () => { if (this.tile?.id === tile.id) this.image.src = full.src; };
    full.src = at(tile.file);
    try {
      const picture = await call(`history/${tile.id}`);
      if (this.tile?.id !== tile.id) return;
      this.picture = picture;
      this.drawFacts(picture);
      this.root.classList.toggle("is-trashed", picture.trashed !== null);
    } catch (error) {
      this.failed(error);
    }
  }

  drawTags(tile) {
    this.tags.replaceChildren(...tile.tags.map((tag) => button(`${tag} ×`, `Remove the tag ${tag}`, () => this.actions.tag(this.ids, [], [tag]), { class: "chip" })));
  }

  drawFacts(picture) {
    const text = (title, content) => (content ? element("section", {}, element("h4", {}, title), element("p", { class: "text" }, content)) : null);
    const facts = [["Size", `${picture.width} × ${picture.height}`], ["Model", picture.model], ["Sampler", picture.sampler], ["Steps", picture.steps], ["Seed", picture.seed],
      ["LoRA", picture.loras.join(", ")], ["Made", when(picture.created)], ["File", `${bytes(picture.size_bytes)} · ${picture.path}`]];
    const known = facts.filter(([, value]) => value !== "" && value !== null);
    this.facts.replaceChildren(...[text("Prompt", picture.prompt), text("Negative prompt", picture.negative_prompt),
      element("dl", {}, ...known.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, String(value))])),
      picture.infotext ? element("details", {}, element("summary", {}, "All parameters"), element("p", { class: "text" }, picture.infotext)) : null].filter(Boolean));
  }

  tagKey(event) {
    if (event.key === "Escape") { this.tagBox.value = ""; this.actions.focusGrid(); }
    if (event.key !== "Enter" || !this.tagBox.value.trim()) return;
    event.preventDefault();
    const tags = this.tagBox.value.split(",").map((tag) => tag.trim()).filter(Boolean);
    this.tagBox.value = "";
    this.actions.tag(this.ids, tags, []);
  }
}
