// The grid of thumbnails: only what is in view is in the document, so 50,000 pictures scroll like fifty.

const search = new URL(import.meta.url).search;
const { element } = await import(`./dom.js${search}`);
const { at } = await import(`./http.js${search}`);

const GAP = 6;
const ROWS_BESIDE = 2; // rows drawn above and below the view
export const NARROW = "(max-width: 760px)"; // windows without room for a picture beside the grid

export function dragFile(event, tile) {
  const url = at(tile.file);
  event.dataTransfer.effectAllowed = "copy";
  event.dataTransfer.setData("DownloadURL", `application/octet-stream:${tile.name}:${url}`); // a file, outside the browser
  event.dataTransfer.setData("text/uri-list", url);
}

export class Grid {
  // `moved(place)` after the focus moved, `opened(place)` for a double click (in a narrow window any), `starred(tile)` for its star.
  constructor({ pages, moved, opened, starred }) {
    Object.assign(this, { pages, moved, opened, starred });
    this.side = 170;
    this.place = 0; // the focused picture
    this.anchor = 0; // where a range begins
    this.clicked = null; // id of the picture that was clicked last, if it was clicked plainly
    this.selected = new Set(); // ids
    this.nodes = new Map(); // place → node
    this.canvas = element("div", { class: "canvas" });
    this.root = element("div", { class: "grid", tabIndex: 0, role: "listbox", "aria-multiselectable": "true", "aria-label": "Pictures",
      onscroll: () => this.drawSoon(), onclick: (event) => this.click(event), ondblclick: (event) => this.doubleClick(event),
      ondragstart: (event) => this.drag(event) }, this.canvas);
    new ResizeObserver(() => this.drawSoon()).observe(this.root);
  }

  get columns() { return Math.max(1, Math.floor((this.canvas.clientWidth + GAP) / (this.side + GAP))); }

  get step() { return (this.canvas.clientWidth + GAP) / this.columns; } // tiles grow to fill the row

  get rowsInView() { return Math.max(1, Math.floor(this.root.clientHeight / this.step)); }

  drawSoon() { this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); }); }

  draw() {
    if (!this.canvas.clientWidth) return; // the tab is hidden
    const total = this.pages.total ?? 0;
    const { columns, step } = this;
    this.canvas.style.height = `${Math.ceil(total / columns) * step}px`;
    this.pages.missing.clear();
    const top = Math.floor(this.root.scrollTop / step) - ROWS_BESIDE;
    const from = Math.max(0, top * columns);
    const to = Math.min(total, (top + this.rowsInView + 2 + 2 * ROWS_BESIDE) * columns);
    for (const [place, node] of this.nodes) {
      if (place < from || place >= to) { node.remove(); this.nodes.delete(place); }
    }
    for (let place = from; place < to; place += 1) this.drawTile(place, total, columns, step);
    this.root.setAttribute("aria-activedescendant", this.nodes.get(this.place)?.id ?? "");
    this.pages.fetchMissing();
  }

  drawTile(place, total, columns, step) {
    const tile = this.pages.at(place);
    let node = this.nodes.get(place);
    const side = step - GAP;
    const left = (place % columns) * step;
    const top = Math.floor(place / columns) * step;
    const isChosen = tile !== null && this.selected.has(tile.id);
    const key = `${tile?.id} ${tile?.thumb} ${tile?.favourite} ${tile?.tags} ${isChosen} ${place === this.place} ${side} ${left} ${top} ${total}`;
    if (node?.key === key) return;
    if (!node || node.picture !== (tile?.id ?? null)) {
      const fresh = this.newNode(place, tile);
      if (node) node.replaceWith(fresh);
      else this.canvas.append(fresh);
      this.nodes.set(place, fresh);
      node = fresh;
    }
    node.key = key;
    Object.assign(node.style, { width: `${side}px`, height: `${side}px`, transform: `translate(${left}px, ${top}px)` });
    node.classList.toggle("focused", place === this.place);
    node.classList.toggle("favourite", Boolean(tile?.favourite));
    node.setAttribute("aria-selected", String(isChosen));
    node.setAttribute("aria-setsize", total);
    node.querySelector(".stars").textContent = tile?.tags.find((tag) => /^★+$/.test(tag)) ?? "";
    node.querySelector(".star").setAttribute("aria-pressed", String(Boolean(tile?.favourite)));
  }

  newNode(place, tile) {
    const picture = element("img", { alt: "", draggable: false, decoding: "async" });
    if (tile) picture.src = at(tile.thumb);
    const node = element("div", { class: "tile", role: "option", id: `gallery_tile_${place}`, draggable: Boolean(tile), "aria-posinset": place + 1,
      "aria-label": tile ? `${tile.words || tile.name}` : "Loading" }, picture,
    element("span", { class: "mark", title: "Choose (Space)" }), element("span", { class: "star", title: "Favourite (f)", "aria-hidden": "true" }, "♥"),
    element("span", { class: "stars", "aria-hidden": "true" }));
    picture.onerror = () => { node.classList.add("gone"); node.title = "The file of this picture was moved or deleted"; };
    node.picture = tile?.id ?? null;
    node.place = place;
    return node;
  }

  nodeOf(event) { return event.target.closest?.(".tile"); }

  click(event) {
    const node = this.nodeOf(event);
    if (!node) return;
    this.root.focus({ preventScroll: true });
    const tile = this.pages.at(node.place);
    if (!tile) return;
    if (event.target.closest(".star")) { this.starred(tile); return; }
    const adds = event.ctrlKey || event.metaKey || Boolean(event.target.closest(".mark"));
    if (event.shiftKey) this.selectRange(this.anchor, node.place);
    else if (adds) {
      // as in a file manager, the one that was clicked before is the first of several
      if (!event.target.closest(".mark") && !this.selected.size && this.clicked !== null && this.clicked !== tile.id) this.selected.add(this.clicked);
      this.toggle(tile);
    } else this.selected.clear();
    if (!event.shiftKey) this.anchor = node.place;
    this.clicked = adds || event.shiftKey ? null : tile.id;
    this.moveTo(node.place);
    if (this.clicked !== null && matchMedia(NARROW).matches) this.opened(node.place); // there is no room beside the grid
  }

  doubleClick(event) {
    const node = this.nodeOf(event);
    if (node && !event.target.closest(".star, .mark")) this.opened(node.place);
  }

  drag(event) {
    const tile = this.pages.at(this.nodeOf(event)?.place ?? -1);
    if (tile) dragFile(event, tile);
  }

  toggle(tile) {
    if (!this.selected.delete(tile.id)) this.selected.add(tile.id);
  }

  async selectRange(one, other) {
    const [from, to] = [Math.min(one, other), Math.max(one, other)];
    for (const id of await this.pages.ids(from, to)) this.selected.add(id);
    this.moved(this.place);
    this.draw();
  }

  // Bring the focus to a place, and the place into view.
  moveTo(place) {
    const total = this.pages.total ?? 0;
    this.place = Math.max(0, Math.min(place, total - 1));
    const top = Math.floor(this.place / this.columns) * this.step;
    const { scrollTop, clientHeight } = this.root;
    if (top < scrollTop) this.root.scrollTop = top;
    else if (top + this.step > scrollTop + clientHeight) this.root.scrollTop = top + this.step - clientHeight;
    this.draw();
    this.moved(this.place);
  }

  // The place that a key leads to, or null for keys that do not move.
  placeAfter(key) {
    const { columns, place } = this;
    const total = this.pages.total ?? 0;
    const ways = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -columns * this.rowsInView, PageDown: columns * this.rowsInView, Home: -total, End: total };
    return key in ways ? Math.max(0, Math.min(total - 1, place + ways[key])) : null;
  }
}
