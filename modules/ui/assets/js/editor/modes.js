// What a source is used for: A1111's tabs inside img2img. A mode shows layers, the first of which the tools begin with.

export const MODES = {
  img2img: { label: "img2img", hint: "The picture as it is", layers: [] },
  sketch: { label: "Sketch", hint: "The picture with what you paint on it", layers: ["sketch"] },
  inpaint: { label: "Inpaint", hint: "Paint over what should change", layers: ["mask"] },
  inpaint_sketch: { label: "Inpaint sketch", hint: "What you paint is a sketch of the new, and the mask at once", layers: ["sketch", "mask"] },
  inpaint_upload: { label: "Inpaint upload", hint: "A picture and a mask from files", layers: ["mask"] },
};

// The mode for showing a mask that came from elsewhere, where the mode on show has none or takes it from strokes.
export const modeForMask = (mode, modes) => (MODES[mode].layers[0] === "mask" ? mode : modes.find((name) => MODES[name].layers[0] === "mask") ?? null);
