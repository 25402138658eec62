// The part of a picture that "Only masked" repaints, to the pixel as the engine finds it (modules/images/masks.py):
// the mask is blurred, what is not black is boxed, padded, and brought to the proportions of the wanted size.

// Gaussian weights in 1/256 that add up to 256, as OpenCV rounds them: each carries its error to the next.
export function gaussianWeights(length, sigma) {
  const half = (length - 1) / 2;
  const exact = Array.from({ length: half + 1 }, (_, k) => Math.exp(-((k - half) ** 2) / (2 * sigma * sigma)));
  const total = 2 * exact.slice(0, half).reduce((sum, value) => sum + value, 0) + 1;
  const weights = [];
  let error = 0;
  for (const value of exact.slice(0, half).map((one) => (one / total) * 256)) {
    const weight = Math.round(value + error);
    error += value - weight;
    weights.push(weight);
  }
  const middle = 256 - 2 * weights.reduce((sum, value) => sum + value, 0);
  return [...weights, middle, ...weights.slice().reverse()];
}

// A place beyond the edge is the one mirrored at the outermost pixel, which is not repeated (reflect-101).
function mirrored(k, length) {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const place = ((k % period) + period) % period;
  return place < length ? place : period - place;
}

// [left, top, right, bottom) of what is not black, `flip` being 255 for an inverted mask, else 0; null for all black.
function bounds({ data, width, height }, flip) {
  const isBlackRow = (y) => {
    for (let k = y * width; k < (y + 1) * width; k += 1) if (data[k] !== flip) return false;
    return true;
  };
  let top = 0;
  while (top < height && isBlackRow(top)) top += 1;
  if (top === height) return null;
  let bottom = height;
  while (isBlackRow(bottom - 1)) bottom -= 1;
  let left = width;
  let right = 0;
  for (let y = top; y < bottom; y += 1) {
    const row = y * width;
    for (let x = 0; x < left; x += 1) if (data[row + x] !== flip) { left = x; break; }
    for (let x = width - 1; x >= right; x -= 1) if (data[row + x] !== flip) { right = x + 1; break; }
  }
  return [left, top, right, bottom];
}

// The box of what is not black once the mask is blurred by `sigma` pixels, first along x, then along y, rounding to a
// byte after each. Only the rim around the mask is computed: further in nothing can widen the box.
export function blurredBounds(raster, sigma, isInverted = false) {
  const flip = isInverted ? 255 : 0;
  const box = bounds(raster, flip);
  if (!box || sigma <= 0) return box;
  const { data, width, height } = raster;
  const weights = gaussianWeights(2 * Math.floor(2.5 * sigma + 0.5) + 1, sigma);
  const reach = (weights.length - 1) / 2;
  const taps = weights.map((weight, k) => [weight, k - reach]).filter(([weight]) => weight !== 0);
  const [left, top, right, bottom] = [Math.max(0, box[0] - reach), Math.max(0, box[1] - reach),
    Math.min(width, box[2] + reach), Math.min(height, box[3] + reach)];
  const alongX = (x, y) => {
    if (width === 1) return data[y] ^ flip;
    let sum = 128;
    for (const [weight, offset] of taps) sum += weight * (data[y * width + mirrored(x + offset, width)] ^ flip);
    return sum >> 8;
  };
  const isWhite = (kept, y, x) => {
    if (height === 1) return kept(x, y) > 0;
    let sum = 128;
    for (const [weight, offset] of taps) {
      const row = mirrored(y + offset, height);
      if (row >= box[1] && row < box[3]) sum += weight * kept(x, row);
    }
    return sum >> 8 > 0;
  };
  // alongX of the rows (or columns) lately asked for: neighbours share nearly all of them
  const remembering = (keyOf, length, indexOf) => {
    const lines = new Map();
    return (x, y) => {
      const key = keyOf(x, y);
      if (!lines.has(key)) {
        if (lines.size > 2 * reach + 2) lines.delete(lines.keys().next().value);
        lines.set(key, new Int16Array(length).fill(-1));
      }
      const line = lines.get(key);
      const k = indexOf(x, y);
      if (line[k] < 0) line[k] = alongX(x, y);
      return line[k];
    };
  };
  const rows = (order) => {
    const kept = remembering((x, y) => y, width, (x) => x);
    return order.find((y) => { for (let x = left; x < right; x += 1) if (isWhite(kept, y, x)) return true; return false; });
  };
  const range = (from, to) => Array.from({ length: to - from }, (_, k) => from + k);
  const first = rows(range(top, bottom));
  if (first === undefined) return null; // a speck that the blur rounds away
  const last = rows(range(first, bottom).reverse());
  const columns = (order) => {
    const kept = remembering((x) => x, height, (x, y) => y);
    return order.find((x) => { for (let y = first; y <= last; y += 1) if (isWhite(kept, y, x)) return true; return false; });
  };
  const leftmost = columns(range(left, right));
  return [leftmost, first, columns(range(leftmost, right).reverse()) + 1, last + 1];
}

// A stretch of about `wanted` pixels around start..end within 0..limit.
function stretch(start, end, wanted, limit) {
  const missing = Math.trunc(wanted - (end - start));
  let from = start - Math.floor(missing / 2);
  let to = end + missing - Math.floor(missing / 2);
  if (to >= limit) [from, to] = [from - (to - limit), limit];
  if (from < 0) [from, to] = [0, to - from];
  return [from, Math.min(to, limit)];
}

// What is repainted at `size` ({width, height}): [left, top, right, bottom), or null for a mask that is black.
export function maskedArea(raster, { blur, isInverted, padding, size }) {
  const box = blurredBounds(raster, blur, isInverted);
  if (!box) return null;
  let [left, top, right, bottom] = [Math.max(box[0] - padding, 0), Math.max(box[1] - padding, 0),
    Math.min(box[2] + padding, raster.width), Math.min(box[3] + padding, raster.height)];
  const target = size.width / size.height;
  if ((right - left) / (bottom - top) > target) [top, bottom] = stretch(top, bottom, (right - left) / target, raster.height);
  else [left, right] = stretch(left, right, (bottom - top) * target, raster.width);
  return [left, top, right, bottom];
}
