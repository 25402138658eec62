// What the pointer does: each tool turns a press, moves and a release into one operation of the layer in hand.
//
// A tool is `(editor, erases) → {begin(point, context), move(point, pressure), end(), cancel()}`; a new one is one more
// entry. `pressure` is a pen's, from 0 to 1; null for what feels none.

const LIGHTEST = 0.2; // share of the brush's size that a pen paints which hardly touches

const quarter = (value) => Math.round(value * 4) / 4; // enough for any brush, and short in JSON

function painter(isEraser) {
  return (editor, erases) => {
    let stroke = null;
    const sizeUnder = (pressure) => quarter(editor.size * (LIGHTEST + (1 - LIGHTEST) * pressure));
    return {
      begin(point, { straightFrom, pressure }) {
        const from = straightFrom ? [quarter(straightFrom.x), quarter(straightFrom.y)] : [];
        stroke = { kind: "stroke", size: editor.size, ...editor.paint(isEraser || erases), points: [...from, quarter(point.x), quarter(point.y)] };
        if (pressure !== null) stroke.sizes = Array(stroke.points.length / 2).fill(sizeUnder(pressure));
        editor.paintTail(stroke, 0);
      },
      move(point, pressure) {
        const { points } = stroke;
        const x = quarter(point.x);
        const y = quarter(point.y);
        if (points.at(-2) === x && points.at(-1) === y) return;
        points.push(x, y);
        stroke.sizes?.push(sizeUnder(pressure));
        editor.paintTail(stroke, points.length / 2 - 1);
      },
      end() { editor.commit(stroke, { painted: true }); },
      cancel() { editor.repaint(); },
    };
  };
}

function shape(kind, pointsOf, outline) {
  return (editor, erases) => {
    let path = [];
    return {
      begin(point) { path = [quarter(point.x), quarter(point.y)]; },
      move(point) {
        path = pointsOf(path, quarter(point.x), quarter(point.y));
        editor.view.showGuide(outline(path), true);
      },
      end() {
        editor.view.showGuide([]);
        if (path.length >= 4) editor.commit({ kind, ...editor.paint(erases), points: path });
      },
      cancel() { editor.view.showGuide([]); },
    };
  };
}

// Takes the colour under the pointer, then hands back the tool used before.
const eyedropper = (editor) => ({
  begin(point) { editor.pick(point); },
  move(point) { editor.pick(point); },
  end() { editor.setTool(editor.toolBefore); },
  cancel() {},
});

export const TOOLS = {
  brush: painter(false),
  eraser: painter(true),
  rectangle: shape("rectangle", ([x0, y0], x, y) => [x0, y0, x, y], ([x0, y0, x1, y1]) => [x0, y0, x1, y0, x1, y1, x0, y1]),
  lasso: shape("lasso", (path, x, y) => [...path, x, y], (path) => path),
  eyedropper,
};
