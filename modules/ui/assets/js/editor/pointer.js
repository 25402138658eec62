// Mouse, pen and fingers over the canvas: paint with one, zoom and move with two, the wheel or a held key.

const search = new URL(import.meta.url).search;
const { TOOLS } = await import(`./tools.js${search}`);
const { wheelAction } = await import(`./hotkeys.js${search}`);
const { isTyping } = await import(`../dom.js${search}`);

const PEN_ERASER = 32; // bit of `buttons`: the pen is turned round

// From 0 to 1; null for mice and fingers, which feel none.
const pressureOf = ({ pointerType, pressure }) => (pointerType === "pen" ? pressure : null);

class Pointer {
  constructor(editor) {
    this.editor = editor;
    this.touches = new Map();
    this.isHovered = false;
    const { board } = editor;
    board.addEventListener("pointerdown", (event) => this.press(event));
    board.addEventListener("pointermove", (event) => this.drag(event));
    board.addEventListener("pointerup", (event) => this.release(event));
    board.addEventListener("pointercancel", (event) => { this.abandon(); this.release(event); });
    board.addEventListener("pointerenter", () => this.enter());
    board.addEventListener("pointerleave", () => { this.isHovered = false; this.showBrush(null); });
    board.addEventListener("contextmenu", (event) => event.preventDefault());
    board.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  enter() {
    this.isHovered = true;
    if (this.editor.config.canvas_blur_prompt && isTyping(document.activeElement)) document.activeElement.blur();
  }

  press(event) {
    const { editor } = this;
    if (!editor.hasPicture) return;
    editor.board.focus({ preventScroll: true });
    editor.board.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.touches.size === 2) { this.abandon(); return; } // a second finger: pinch, not paint
      if (this.touches.size > 1) return;
    }
    const isAlone = event.pointerType === "touch" && !editor.paints; // one finger scrolls the page
    if (event.button === 1 || editor.isPanning || !editor.paints) {
      this.panFrom = isAlone ? null : [event.clientX, event.clientY];
      return;
    }
    if (event.button !== 0 && event.button !== 2) return;
    const point = editor.view.toImage(event.clientX, event.clientY);
    const erases = event.button === 2 || (event.pointerType === "pen" && (event.buttons & PEN_ERASER) !== 0);
    const picks = event.altKey && editor.layer === "sketch";
    if (picks) editor.setTool("eyedropper");
    this.gesture = TOOLS[editor.tool](editor, erases);
    this.gesture.begin(point, { straightFrom: event.shiftKey ? editor.lastPoint : null, pressure: pressureOf(event) });
    if (!picks) editor.lastPoint = point;
  }

  drag(event) {
    const { editor } = this;
    if (!editor.hasPicture) return;
    if (this.touches.has(event.pointerId) && this.touches.size >= 2) { this.pinch(event); return; }
    if (this.panFrom) {
      editor.view.pan(event.clientX - this.panFrom[0], event.clientY - this.panFrom[1]);
      this.panFrom = [event.clientX, event.clientY];
      return;
    }
    if (this.gesture) {
      const parts = event.getCoalescedEvents?.() ?? [];
      for (const part of parts.length ? parts : [event]) {
        editor.lastPoint = editor.view.toImage(part.clientX, part.clientY);
        this.gesture.move(editor.lastPoint, pressureOf(part));
      }
    }
    this.showBrush(editor.view.toImage(event.clientX, event.clientY));
  }

  release(event) {
    this.touches.delete(event.pointerId);
    this.panFrom = null;
    const { gesture } = this;
    this.gesture = null;
    gesture?.end();
  }

  abandon() {
    this.gesture?.cancel();
    this.gesture = null;
    this.panFrom = null;
  }

  pinch(event) {
    const before = [...this.touches.values()];
    this.touches.set(event.pointerId, [event.clientX, event.clientY]);
    const after = [...this.touches.values()];
    const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const span = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
    const [from, to] = [middle(before), middle(after)];
    this.editor.view.pan(to[0] - from[0], to[1] - from[1]);
    this.editor.view.zoom(span(after) / span(before), ...to);
  }

  wheel(event) {
    const { editor } = this;
    const action = editor.hasPicture ? wheelAction(event, editor.config, editor) : null;
    if (!action) return;
    event.preventDefault();
    const turned = event.deltaY || event.deltaX; // with Shift held, a browser turns the wheel sideways
    const notches = -turned / (event.deltaMode ? 3 : 100);
    if (action === "size") editor.setSize(editor.size * 1.12 ** notches + Math.sign(notches));
    else editor.view.zoom(1.2 ** notches, event.clientX, event.clientY);
    this.showBrush(editor.view.toImage(event.clientX, event.clientY));
  }

  // The outline of the brush at a picture point, where it was last unless told; null hides it.
  showBrush(point = this.at) {
    const { editor } = this;
    this.at = point;
    const isBrush = editor.paints && editor.hasPicture && ["brush", "eraser"].includes(editor.tool);
    editor.view.showBrush(isBrush ? point ?? null : null, editor.size, editor.tool === "eraser");
  }
}

export const watchPointer = (editor) => new Pointer(editor);
