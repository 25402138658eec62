// Loads Konva once, when the first editor is opened, and not before.

const here = new URL(import.meta.url);

await new Promise((resolve, reject) => {
  if (window.Konva) { resolve(); return; }
  const script = document.createElement("script");
  script.src = new URL(`../../konva/konva.min.js${here.search}`, here).href;
  script.onload = resolve;
  script.onerror = () => reject(new Error("Konva could not be loaded"));
  document.head.append(script);
});

export const Konva = window.Konva;
