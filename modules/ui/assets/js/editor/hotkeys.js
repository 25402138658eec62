// Keys and wheel over a canvas, as A1111's settings ("Canvas Hotkeys") have them. `config` holds the settings by key.

const MODIFIERS = { Shift: (event) => event.shiftKey, Ctrl: (event) => event.ctrlKey || event.metaKey, Alt: (event) => event.altKey };

// What A1111 calls the functions that `canvas_disabled_functions` names.
const isOff = (config, name) => config.canvas_disabled_functions.includes(name);

// [setting, A1111's name of the function, what the help calls it, method of the editor]
const KEYS = [
  ["canvas_hotkey_shrink_brush", "Hotkey shrink brush", "Smaller brush", (editor) => editor.setSize(editor.size * 0.9 - 1)],
  ["canvas_hotkey_grow_brush", "Hotkey enlarge brush", "Larger brush", (editor) => editor.setSize(editor.size * 1.1 + 1)],
  ["canvas_hotkey_move", "Moving canvas", "Hold to move the picture", (editor) => { editor.isPanning = true; }],
  ["canvas_hotkey_fullscreen", "Fullscreen", "Fill the window", (editor) => editor.toggleLarge("full")],
  ["canvas_hotkey_reset", "Reset Zoom", "Show the whole picture", (editor) => editor.view.fit()],
  ["canvas_hotkey_overlap", "Overlap", "Lay over the page", (editor) => editor.toggleLarge("overlap")],
];

const OWN_KEYS = [
  ["b", "Brush", (editor) => editor.setTool("brush")],
  ["e", "Eraser", (editor) => editor.setTool("eraser")],
  ["i", "Take a colour from the picture", (editor) => editor.setTool("eyedropper")],
  [" ", "Hold to move the picture", (editor) => { editor.isPanning = true; }],
];

const COMMANDS = [
  ["Ctrl+Z", "Undo", (editor) => editor.undo()],
  ["Ctrl+Y", "Redo", (editor) => editor.redo()],
];

// The action of a pressed key, or null.
export function actionOf(event, config) {
  const name = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    const command = name === "z" && event.shiftKey ? "Ctrl+Y" : `Ctrl+${name.toUpperCase()}`;
    return COMMANDS.find(([keys]) => keys === command)?.[2] ?? null;
  }
  if (event.altKey) return null;
  const ours = KEYS.find(([setting, disabled]) => config[setting].toLowerCase() === name && !isOff(config, disabled));
  return ours?.[3] ?? OWN_KEYS.find(([key]) => key === name)?.[2] ?? null;
}

export function isMoveKey(event, config) {
  return event.key === " " || event.key.toLowerCase() === config.canvas_hotkey_move.toLowerCase();
}

// What the wheel does: "size", "zoom", or null where the page should scroll. Over an enlarged editor there is no page.
export function wheelAction(event, config, { paints, isLarge }) {
  if (paints && MODIFIERS[config.canvas_hotkey_adjust](event) && !isOff(config, "Adjust brush size")) return "size";
  if (isOff(config, "Zoom")) return null;
  if (MODIFIERS[config.canvas_hotkey_zoom](event)) return "zoom";
  return isLarge ? "zoom" : null;
}

// Lines of the help: [keys, what they do].
export function help(config, paints) {
  const painting = ["Smaller brush", "Larger brush"];
  const lines = [];
  if (!isOff(config, "Zoom")) lines.push([`${config.canvas_hotkey_zoom}+wheel`, "Zoom at the pointer"]);
  if (paints && !isOff(config, "Adjust brush size")) lines.push([`${config.canvas_hotkey_adjust}+wheel`, "Brush size"]);
  for (const [setting, disabled, words] of KEYS) {
    if (!isOff(config, disabled) && (paints || !painting.includes(words))) lines.push([config[setting].toUpperCase(), words]);
  }
  if (!paints) return lines;
  return [...lines, ["Shift", "Straight lines from stroke to stroke"], ["Right button", "Erase"],
    ...COMMANDS.map(([keys, words]) => [keys, words]), ...OWN_KEYS.slice(0, 3).map(([key, words]) => [key.toUpperCase(), words])];
}
