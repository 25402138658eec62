// What was painted over one picture: layers, each a list of operations and how many of them are in force. Undo and redo
// move that number, in the layers on show, in the order in which things were done.

const search = new URL(import.meta.url).search;
const { RASTERS, apply } = await import(`./raster.js${search}`);
const { unpack } = await import(`./pixels.js${search}`);

const SNAPSHOT_EVERY = 6; // operations between kept rasters, so that undo repaints few strokes
const SNAPSHOT_BYTES = 160e6;

export class Layer {
  constructor(name, width, height, { operations = [], done = operations.length } = {}) {
    Object.assign(this, { name, width, height, operations, done });
    this.version = 0; // counts changes of the raster
    this.snapshots = new Map(); // number of operations in force → Raster
    this.raster = this.rasterAt(done);
  }

  get isEmpty() { return this.done === 0 || this.raster.isEmpty(); }

  // Put an operation in force, dropping what was undone before. `painted` says the raster shows it already.
  add(operation, { painted = false } = {}) {
    this.forgetUndone();
    this.operations.push(operation);
    this.done += 1;
    this.version += 1;
    const box = painted ? null : apply(this.raster, operation);
    this.keepSnapshot(this.done, this.raster);
    return box;
  }

  forgetUndone() {
    this.operations.length = this.done;
    for (const count of this.snapshots.keys()) if (count > this.done) this.snapshots.delete(count);
  }

  moveTo(count) {
    if (count === this.done + 1) apply(this.raster, this.operations[this.done]);
    else this.raster = this.rasterAt(count);
    this.done = count;
    this.version += 1;
  }

  rasterAt(count) {
    let start = 0;
    for (const kept of this.snapshots.keys()) if (kept <= count && kept > start) start = kept;
    const raster = start ? this.snapshots.get(start).copy() : new RASTERS[this.name](this.width, this.height);
    for (let k = start; k < count; k += 1) {
      apply(raster, this.operations[k]);
      this.keepSnapshot(k + 1, raster);
    }
    return raster;
  }

  keepSnapshot(count, raster) {
    if (count % SNAPSHOT_EVERY || this.snapshots.has(count)) return;
    this.snapshots.set(count, raster.copy());
    const room = Math.max(1, Math.floor(SNAPSHOT_BYTES / raster.data.length));
    while (this.snapshots.size > room) this.snapshots.delete(this.snapshots.keys().next().value);
  }
}

export class PictureDocument {
  // `kept` is a document's JSON, its operations unpacked (see `read`).
  constructor(width, height, kept = { layers: {} }) {
    Object.assign(this, { width, height });
    this.layers = new Map(); // name → Layer; a layer nobody painted on takes no memory
    for (const [name, layer] of Object.entries(kept.layers)) this.layers.set(name, new Layer(name, width, height, layer));
    this.serial = Math.max(0, ...[...this.layers.values()].flatMap(({ operations }) => operations.map(({ n }) => n)));
  }

  static async read(width, height, kept) {
    await Promise.all(Object.values(kept.layers).map(({ operations }) => unpack(operations)));
    return new PictureDocument(width, height, kept);
  }

  layer(name) {
    if (!this.layers.has(name)) this.layers.set(name, new Layer(name, this.width, this.height));
    return this.layers.get(name);
  }

  // Add to one layer while `shown` layers are on show: what was undone in those is gone.
  add(name, operation, { shown = [name], painted = false } = {}) {
    this.among(shown).forEach((layer) => layer.forgetUndone());
    this.serial += 1;
    operation.n = this.serial;
    return this.layer(name).add(operation, { painted });
  }

  among(shown) { return shown.filter((name) => this.layers.has(name)).map((name) => this.layers.get(name)); }

  // The layer whose step is the next to be undone or redone among those on show; null when there is none.
  nextUndo(shown) {
    const last = (layer) => layer.operations[layer.done - 1].n;
    return this.among(shown).filter((layer) => layer.done > 0).sort((one, other) => last(other) - last(one))[0] ?? null;
  }

  nextRedo(shown) {
    const next = (layer) => layer.operations[layer.done].n;
    return this.among(shown).filter((layer) => layer.done < layer.operations.length).sort((one, other) => next(one) - next(other))[0] ?? null;
  }

  // Undo or redo one step; returns the layer it was in, or null.
  undo(shown) { return this.step(this.nextUndo(shown), -1); }

  redo(shown) { return this.step(this.nextRedo(shown), 1); }

  step(layer, by) {
    layer?.moveTo(layer.done + by);
    return layer;
  }

  toJSON() {
    const layers = Object.fromEntries([...this.layers.values()].map(({ name, operations, done }) => [name, { operations, done }]));
    return { width: this.width, height: this.height, layers };
  }
}
