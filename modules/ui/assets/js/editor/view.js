// The editor's canvas: picture, sketch, mask and brush outline as Konva layers, with zoom and pan.
//
// Konva (assets/konva, MIT) does the scene, hi-dpi canvases and the transform; what is painted are the rasters of
// document.js, shown pixel by pixel, so what is seen is what is sent.

const search = new URL(import.meta.url).search;
const { Konva } = await import(`./konva.js${search}`);
const { channelsOf } = await import(`./raster.js${search}`);

const ZOOM_MIN = 0.02;
const ZOOM_MAX = 40;

const TINT = "#ff4040"; // of the mask

// Pixels of a raster's box [left, top, right, bottom) as a canvas takes them; a mask is drawn in `tint` (blue, green, red).
function pixelsOf(raster, [left, top, right, bottom], tint) {
  const words = new Uint32Array((right - left) * (bottom - top));
  let k = 0;
  for (let y = top; y < bottom; y += 1) {
    const row = y * raster.width;
    if (raster.words) {
      words.set(raster.words.subarray(row + left, row + right), k);
      k += right - left;
    } else for (let x = left; x < right; x += 1, k += 1) words[k] = ((raster.data[row + x] << 24) | tint) >>> 0;
  }
  return new ImageData(new Uint8ClampedArray(words.buffer), right - left);
}

export class CanvasView {
  constructor(container, { opacity = 0.55 } = {}) {
    this.container = container;
    this.stage = new Konva.Stage({ container, width: container.clientWidth || 1, height: container.clientHeight || 1 });
    this.layer = new Konva.Layer({ listening: false });
    this.cursorLayer = new Konva.Layer({ listening: false });
    this.stage.add(this.layer, this.cursorLayer);
    this.picture = new Konva.Image({ listening: false });
    this.overlays = { sketch: new Konva.Image({ listening: false, visible: false }), mask: new Konva.Image({ listening: false, visible: false, opacity }) };
    this.frame = new Konva.Rect({ listening: false, stroke: "#8888", strokeWidth: 1, strokeScaleEnabled: false });
    this.layer.add(this.picture, this.overlays.sketch, this.overlays.mask, this.frame);
    const line = { strokeWidth: 1.5, strokeScaleEnabled: false, visible: false };
    this.outline = new Konva.Circle({ ...line, radius: 1, stroke: "white", shadowColor: "black", shadowBlur: 2, shadowOpacity: 1 });
    this.guide = new Konva.Line({ ...line, stroke: "white", dash: [6, 4] });
    this.area = new Konva.Group({ visible: false });
    this.shade = new Konva.Path({ fill: "#0007", fillRule: "evenodd" });
    this.edges = ["black", "white"].map((stroke, k) => new Konva.Rect({ ...line, visible: true, stroke, dash: k ? [6, 6] : [] }));
    this.area.add(this.shade, ...this.edges);
    this.cursorLayer.add(this.area, this.guide, this.outline);
    this.setTint();
    this.isFitted = true;
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(container);
  }

  // Show a decoded picture (anything drawImage takes) with nothing over it.
  show(bitmap, width, height) {
    this.width = width;
    this.height = height;
    this.bitmap = bitmap;
    this.picture.image(bitmap);
    this.contexts = {}; // layer → context of its canvas, made when something is painted on it
    for (const overlay of Object.values(this.overlays)) {
      overlay.image(null);
      overlay.size({ width, height });
    }
    this.picture.size({ width, height });
    this.frame.size({ width, height });
    this.showArea(null);
    this.fit();
  }

  // Redraw a box [left, top, right, bottom) of a layer from its raster; the whole when no box is given.
  paint(name, raster, box = [0, 0, raster.width, raster.height]) {
    if (!box) return;
    this.contexts[name] ??= this.canvasFor(name);
    this.contexts[name].putImageData(pixelsOf(raster, box, this.tint), box[0], box[1]);
    this.layer.batchDraw();
  }

  canvasFor(name) {
    const canvas = Object.assign(document.createElement("canvas"), { width: this.width, height: this.height });
    this.overlays[name].image(canvas);
    return canvas.getContext("2d", { willReadFrequently: true });
  }

  // Which layers are on show.
  setLayers(names) {
    for (const [name, overlay] of Object.entries(this.overlays)) overlay.visible(names.includes(name));
    // Touch and pen belong to a canvas that is painted on; elsewhere one finger scrolls the page.
    this.container.style.touchAction = names.length ? "none" : "pan-x pan-y";
    this.layer.batchDraw();
  }

  // The colour ("#rrggbb") that masks are shown in from now on.
  setTint(colour = TINT) {
    const [red, green, blue] = channelsOf(colour);
    this.tint = (blue << 16) | (green << 8) | red;
  }

  setOpacity(opacity) {
    this.overlays.mask.opacity(opacity);
    this.layer.batchDraw();
  }

  // The picture's own colour [red, green, blue] under a picture point; what is transparent counts as white.
  colourAt(x, y) {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, 1, 1);
    context.drawImage(this.bitmap, -x, -y);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  }

  // The part [left, top, right, bottom) that will be repainted, what is around it darkened; null hides it.
  showArea(box) {
    this.area.visible(Boolean(box));
    if (box) {
      const [left, top, right, bottom] = box;
      this.shade.data(`M0 0H${this.width}V${this.height}H0ZM${left} ${top}H${right}V${bottom}H${left}Z`);
      for (const edge of this.edges) edge.setAttrs({ x: left, y: top, width: right - left, height: bottom - top });
    }
    this.cursorLayer.batchDraw();
  }

  // Picture coordinates of a point given in client (viewport) pixels, whatever the display scale or zoom.
  toImage(clientX, clientY) {
    const box = this.stage.content.getBoundingClientRect();
    const scale = this.stage.scaleX();
    return {
      x: ((clientX - box.left) * (this.stage.width() / box.width) - this.stage.x()) / scale,
      y: ((clientY - box.top) * (this.stage.height() / box.height) - this.stage.y()) / scale,
    };
  }

  // Multiply the zoom, keeping the picture point under the given client point where it is.
  zoom(factor, clientX, clientY) {
    if (!this.width) return;
    const before = this.toImage(clientX, clientY);
    const old = this.stage.scaleX();
    const scale = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, old * factor));
    this.isFitted = false;
    this.stage.scale({ x: scale, y: scale });
    this.stage.position({ x: this.stage.x() + before.x * (old - scale), y: this.stage.y() + before.y * (old - scale) });
    this.afterMove();
  }

  pan(dx, dy) {
    this.isFitted = false;
    const box = this.stage.content.getBoundingClientRect();
    const unit = this.stage.width() / box.width;
    this.stage.position({ x: this.stage.x() + dx * unit, y: this.stage.y() + dy * unit });
    this.afterMove();
  }

  fit() {
    if (!this.width || !this.stage.width()) return;
    const scale = Math.min(this.stage.width() / this.width, this.stage.height() / this.height);
    this.isFitted = true;
    this.stage.scale({ x: scale, y: scale });
    this.stage.position({ x: (this.stage.width() - this.width * scale) / 2, y: (this.stage.height() - this.height * scale) / 2 });
    this.afterMove();
  }

  // One display pixel for each of the picture's, its middle in the middle.
  actualSize() {
    this.isFitted = false;
    this.stage.scale({ x: 1, y: 1 });
    this.stage.position({ x: (this.stage.width() - this.width) / 2, y: (this.stage.height() - this.height) / 2 });
    this.afterMove();
  }

  afterMove() {
    // Enlarged pixels are shown as pixels: a mask must be judged by its edge.
    this.layer.imageSmoothingEnabled(this.stage.scaleX() < 2);
    this.stage.batchDraw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (!width || !height) return; // in a hidden tab
    if (width === this.stage.width() && height === this.stage.height()) return;
    this.stage.size({ width, height });
    if (this.isFitted) this.fit();
  }

  // The brush outline at a picture point; null hides it.
  showBrush(point, diameter = 1, dashed = false) {
    this.outline.visible(Boolean(point));
    if (point) {
      this.outline.position(point);
      this.outline.radius(Math.max(diameter / 2, 0.5));
      this.outline.dash(dashed ? [4, 4] : []);
    }
    this.cursorLayer.batchDraw();
  }

  // A dashed line through picture points [x0, y0, …] while a shape is drawn; empty hides it.
  showGuide(points, closed = false) {
    this.guide.visible(points.length > 0);
    this.guide.points(points);
    this.guide.closed(closed);
    this.cursorLayer.batchDraw();
  }
}
