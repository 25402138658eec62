// The pictures of a search by their place in it, fetched page by page when they come into view.

const { call, query } = await import(`./http.js${new URL(import.meta.url).search}`);

const PAGE = 100;
const SETTLES_AFTER_MS = 40; // while the bar is dragged, pages rush by that nobody looks at

export class Pages {
  constructor({ changed, failed }) {
    Object.assign(this, { changed, failed });
    this.pages = new Map(); // page number → tiles
    this.loading = new Set();
    this.missing = new Set();
    this.total = null;
    this.search = {};
    this.version = 0;
  }

  // Ask again, for `search`; what is on show stays until the answer is there. `around` is the place to fetch first.
  async reset(search, around = 0) {
    const answer = await this.ask(search, around);
    if (answer) this.take(answer);
  }

  // The answer for `take`; null when it failed, or when something else was asked for meanwhile.
  async ask(search, around = 0) {
    this.version += 1;
    this.search = search;
    const { version } = this;
    const page = Math.floor(around / PAGE);
    const answer = await this.fetch(page);
    return version === this.version && answer ? { ...answer, page } : null;
  }

  take({ page, pictures, total }) {
    this.pages = new Map([[page, pictures]]);
    this.loading.clear();
    this.total = total;
    this.changed();
  }

  // The tile at a place; null while it is not here (it is fetched then, if the place stays in view).
  at(place) {
    if (this.total === null || place < 0 || place >= this.total) return null;
    const tiles = this.pages.get(Math.floor(place / PAGE));
    if (!tiles) this.missing.add(Math.floor(place / PAGE));
    return tiles?.[place % PAGE] ?? null;
  }

  // Called after each drawing: fetch what was missed in it, once scrolling rests.
  fetchMissing() {
    clearTimeout(this.timer);
    if (!this.missing.size) return;
    this.timer = setTimeout(() => { for (const page of this.missing) this.load(page); this.missing.clear(); }, SETTLES_AFTER_MS);
  }

  async load(page) {
    if (this.pages.has(page) || this.loading.has(page)) return;
    const { version } = this;
    this.loading.add(page);
    const answer = await this.fetch(page);
    if (version !== this.version) return;
    this.loading.delete(page);
    if (!answer) return;
    this.pages.set(page, answer.pictures);
    this.total = answer.total;
    this.changed();
  }

  async fetch(page) {
    try {
      return await call(`history?${query({ ...this.search, limit: PAGE, offset: page * PAGE })}`);
    } catch (error) {
      this.failed(error);
      return null;
    }
  }

  async ids(from, to) {
    return (await call(`history/ids?${query({ ...this.search, limit: to - from + 1, offset: from })}`)).ids;
  }

  // Change tiles that are here already, so that a mark shows at once.
  patch(ids, change) {
    const wanted = new Set(ids);
    for (const tiles of this.pages.values()) for (const tile of tiles) if (wanted.has(tile.id)) Object.assign(tile, change(tile));
    this.changed();
  }

  placeOf(id) {
    for (const [page, tiles] of this.pages) {
      const k = tiles.findIndex((tile) => tile.id === id);
      if (k >= 0) return page * PAGE + k;
    }
    return -1;
  }
}
