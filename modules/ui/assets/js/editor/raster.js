// What a person paints, in picture pixels and by exact rules: a mask (one byte a pixel) or a colour sketch (RGBA).
//
// A pixel belongs to a stroke when its centre is at most the radius away from the stroke's line. No canvas, no
// anti-aliasing: the same operations give the same bytes on every machine, display scale and zoom.

class Raster {
  // The box of pixels [left, top, right, bottom) that can be touched, inside the picture; null when none.
  clip(left, top, right, bottom) {
    const box = [Math.max(0, Math.floor(left)), Math.max(0, Math.floor(top)),
      Math.min(this.width, Math.ceil(right)), Math.min(this.height, Math.ceil(bottom))];
    return box[0] < box[2] && box[1] < box[3] ? box : null;
  }

  copy() {
    const twin = new this.constructor(this.width, this.height);
    twin.data.set(this.data);
    return twin;
  }
}

// The mask: 255 is repainted, 0 kept, what is between belongs to a feathered edge.
export class MaskRaster extends Raster {
  constructor(width, height) {
    super();
    Object.assign(this, { width, height, channels: 1, data: new Uint8Array(width * height) });
  }

  // Fills stretches of pixels [from, to), row by row, as an operation says.
  pen({ value }) { return (from, to) => this.data.fill(value, from, to); }

  isEmpty() { return this.data.every((value) => value === 0); }
}

// Colour (straight alpha) over the picture; 0 where nothing was painted.
export class SketchRaster extends Raster {
  constructor(width, height) {
    super();
    Object.assign(this, { width, height, channels: 4, words: new Uint32Array(width * height) });
    this.data = new Uint8Array(this.words.buffer);
    this.marks = null; // which pixels the translucent operation in hand has covered: its number
    this.mark = 0;
    this.inHand = null;
  }

  // `colour` is "#rrggbb", or null to erase; `opacity` is in percent. A translucent operation covers a pixel once,
  // however often it passes over it.
  pen(operation) {
    const { colour, opacity = 100 } = operation;
    const alpha = Math.round((opacity * 255) / 100);
    const [red, green, blue] = colour ? channelsOf(colour) : [0, 0, 0];
    if (!colour || alpha >= 255) {
      const word = colour ? packed(red, green, blue, 255) : 0;
      return (from, to) => this.words.fill(word, from, to);
    }
    if (this.inHand !== operation) this.takeInHand(operation);
    const { words, marks, mark } = this;
    return (from, to) => {
      for (let k = from; k < to; k += 1) {
        if (marks[k] === mark) continue;
        marks[k] = mark;
        words[k] = over(words[k], red, green, blue, alpha);
      }
    };
  }

  takeInHand(operation) {
    this.inHand = operation;
    this.marks ??= new Uint8Array(this.words.length);
    this.mark = this.mark % 255 + 1;
    if (this.mark === 1) this.marks.fill(0);
  }

  isEmpty() { return this.words.every((word) => word >>> 24 === 0); }
}

export const RASTERS = { mask: MaskRaster, sketch: SketchRaster };

export const channelsOf = (colour) => [1, 3, 5].map((place) => Number.parseInt(colour.slice(place, place + 2), 16));

const packed = (red, green, blue, alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0; // little-endian RGBA

// A colour laid over a pixel: Porter and Duff's "over" with straight alpha, rounded.
function over(under, red, green, blue, alpha) {
  const below = (under >>> 24) * (255 - alpha); // both shares in 1/65025
  const total = alpha * 255 + below;
  const mix = (above, beneath) => Math.round((above * alpha * 255 + beneath * below) / total);
  return packed(mix(red, under & 255), mix(green, (under >>> 8) & 255), mix(blue, (under >>> 16) & 255), Math.round(total / 255));
}

// Half a pixel's diagonal: the thinnest brush still covers the pixel under the pointer.
const THINNEST = Math.SQRT1_2;

// Paint the capsule around one line segment; returns the touched box or null. A capsule is convex: one stretch a row.
function paintSegment(raster, x0, y0, x1, y1, diameter, fill) {
  const radius = Math.max(diameter / 2, THINNEST);
  const box = raster.clip(Math.min(x0, x1) - radius, Math.min(y0, y1) - radius,
    Math.max(x0, x1) + radius + 1, Math.max(y0, y1) + radius + 1);
  if (!box) return null;
  const [left, top, right, bottom] = box;
  const dx = x1 - x0;
  const dy = y1 - y0;
  const lengthSquared = dx * dx + dy * dy;
  const reach = radius * radius;
  const isInside = (px, py) => {
    let along = lengthSquared ? (px * dx + py * dy) / lengthSquared : 0;
    along = along < 0 ? 0 : along > 1 ? 1 : along;
    const ox = px - along * dx;
    const oy = py - along * dy;
    return ox * ox + oy * oy <= reach;
  };
  for (let y = top; y < bottom; y += 1) {
    const py = y + 0.5 - y0;
    let from = left;
    while (from < right && !isInside(from + 0.5 - x0, py)) from += 1;
    if (from === right) continue;
    let to = right;
    while (!isInside(to - 0.5 - x0, py)) to -= 1;
    fill(y * raster.width + from, y * raster.width + to);
  }
  return box;
}

export function union(one, other) {
  if (!one || !other) return one || other;
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[2], other[2]), Math.max(one[3], other[3])];
}

// Paint the segments of a polyline from point number `from` on; a single point is a dot. A pen's stroke has `sizes`, one
// a point: a segment is as wide as the point that ends it.
function paintPolyline(raster, operation, from = 0) {
  const { points, sizes } = operation;
  const count = points.length / 2;
  const fill = raster.pen(operation);
  const sizeAt = (k) => sizes?.[k] ?? operation.size;
  if (count === 1) return paintSegment(raster, points[0], points[1], points[0], points[1], sizeAt(0), fill);
  let touched = null;
  for (let k = Math.max(1, from); k < count; k += 1) {
    touched = union(touched, paintSegment(raster, points[2 * k - 2], points[2 * k - 1], points[2 * k], points[2 * k + 1], sizeAt(k), fill));
  }
  return touched;
}

// Fill a polygon by the even-odd rule at pixel centres.
function paintPolygon(raster, operation, points = operation.points) {
  const count = points.length / 2;
  const xs = points.filter((_, k) => k % 2 === 0);
  const ys = points.filter((_, k) => k % 2 === 1);
  const bounds = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [[left, right], [top, bottom]] = [bounds(xs), bounds(ys)];
  const box = raster.clip(left, top, right + 1, bottom + 1);
  if (!box) return null;
  const fill = raster.pen(operation);
  for (let y = box[1]; y < box[3]; y += 1) {
    const level = y + 0.5;
    const crossings = [];
    for (let k = 0; k < count; k += 1) {
      const next = (k + 1) % count;
      if ((ys[k] <= level) !== (ys[next] <= level)) {
        crossings.push(xs[k] + ((level - ys[k]) / (ys[next] - ys[k])) * (xs[next] - xs[k]));
      }
    }
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const from = Math.max(0, Math.ceil(crossings[k] - 0.5));
      const to = Math.min(raster.width, Math.ceil(crossings[k + 1] - 0.5));
      if (from < to) fill(y * raster.width + from, y * raster.width + to);
    }
  }
  return box;
}

// Grow (positive) or shrink (negative) the white area by a number of pixels, as a disc would.
function grow(raster, by) {
  const { width, height, data } = raster;
  const source = data.slice();
  const wanted = by > 0 ? 255 : 0;
  const reach = Math.abs(by);
  const isEdge = (x, y) => (x > 0 && source[y * width + x - 1] !== wanted) || (x + 1 < width && source[y * width + x + 1] !== wanted)
    || (y > 0 && source[(y - 1) * width + x] !== wanted) || (y + 1 < height && source[(y + 1) * width + x] !== wanted);
  const spans = [];
  for (let dy = -reach; dy <= reach; dy += 1) spans.push([dy, Math.floor(Math.sqrt(reach * reach - dy * dy))]);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (source[y * width + x] !== wanted || !isEdge(x, y)) continue;
      for (const [dy, half] of spans) {
        const row = y + dy;
        if (row >= 0 && row < height) data.fill(wanted, row * width + Math.max(0, x - half), row * width + Math.min(width, x + half + 1));
      }
    }
  }
}

// One running mean over 2 * reach + 1 pixels of every line, the outermost pixels repeated beyond the edge.
function boxBlur(source, target, { lines, length, lineStep, step, reach }) {
  const wide = 2 * reach + 1;
  for (let line = 0; line < lines; line += 1) {
    const start = line * lineStep;
    const at = (k) => source[start + Math.min(length - 1, Math.max(0, k)) * step];
    let sum = 0;
    for (let k = -reach; k <= reach; k += 1) sum += at(k);
    for (let k = 0; k < length; k += 1) {
      target[start + k * step] = Math.floor(sum / wide + 0.5);
      sum += at(k + reach + 1) - at(k - reach);
    }
  }
}

// Soften the edge over about `by` pixels to either side: three running means in each direction, nearly a Gaussian.
function feather(raster, by) {
  const { width, height } = raster;
  const reach = Math.max(1, Math.round(by / 3));
  const spare = new Uint8Array(raster.data.length);
  for (let pass = 0; pass < 3; pass += 1) {
    boxBlur(raster.data, spare, { lines: height, length: width, lineStep: width, step: 1, reach });
    boxBlur(spare, raster.data, { lines: width, length: height, lineStep: 1, step: width, reach });
  }
}

const whole = (raster) => [0, 0, raster.width, raster.height];

// Every kind of operation: `(raster, operation)` changes the raster and returns the touched box. Strokes, outlines and
// fills paint what `raster.pen(operation)` paints (a mask's `value`, a sketch's `colour` and `opacity`); the rest is for
// masks. A new kind is one more entry.
export const OPERATIONS = {
  stroke: paintPolyline,
  lasso: paintPolygon,
  rectangle: (raster, operation) => {
    const [x0, y0, x1, y1] = operation.points;
    return paintPolygon(raster, operation, [x0, y0, x1, y0, x1, y1, x0, y1]);
  },
  fill: (raster, operation) => { raster.pen(operation)(0, raster.width * raster.height); return whole(raster); },
  invert: (raster) => { for (let k = 0; k < raster.data.length; k += 1) raster.data[k] = 255 - raster.data[k]; return whole(raster); },
  grow: (raster, { by }) => { grow(raster, by); return whole(raster); },
  feather: (raster, { by }) => { feather(raster, by); return whole(raster); },
  // All pixels at once, as from a file; see pixels.js.
  pixels: (raster, { bytes }) => { raster.data.set(bytes); return whole(raster); },
};

export function apply(raster, operation) {
  return OPERATIONS[operation.kind](raster, operation);
}

// Paint only what a growing stroke has gained since `from` points.
export function applyTail(raster, stroke, from) {
  return paintPolyline(raster, stroke, from);
}
