// The notes of a model file, its preview, and the metadata in its header.

const search = new URL(import.meta.url).search;
const { element, button, blobToBase64, toast } = await import(`./dom.js${search}`);
const { at, call } = await import(`./http.js${search}`);

const VERSIONS = ["SD1", "SD2", "SDXL", "Unknown"];

function openDialog(...children) {
  const dialog = element("dialog", { class: "webui-dialog wide", onclose: () => dialog.remove() }, ...children);
  // Inside a tab the page's shortcuts would act on what lies behind.
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  (document.querySelector(".gradio-container") ?? document.body).append(dialog);
  dialog.showModal();
  return dialog;
}

export async function openMetadata(kind, card, failed) {
  try {
    const { metadata } = await call(`cards/${kind}/${card.id}/metadata`);
    const dialog = openDialog(element("h3", {}, card.name),
      element("dl", { class: "metadata" }, ...Object.entries(metadata).flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value.length > 2000 ? `${value.slice(0, 2000)} …` : value)])),
      element("div", { class: "buttons" }, button("Close", "Close", () => dialog.close(), { class: "webui-button" })));
  } catch (error) {
    failed(error);
  }
}

export async function openCardEditor({ kind, title, card, selectedImage, saved, failed }) {
  let details;
  try { details = await call(`cards/${kind}/${card.id}`); } catch (error) { failed(error); return; }
  const fields = new Map(); // key of the notes → { read }
  const field = (key, label, input, read = () => input.value) => {
    fields.set(key, { read });
    input.disabled = !details.may_change;
    return element("label", {}, label, input);
  };
  const text = (key, label, rows) => field(key, label, element("textarea", { rows, value: details[key] }));
  const choice = (key, label, choices) => {
    const given = choices.includes(details[key]) ? choices : [...choices, details[key]];
    return field(key, label, element("select", {}, ...given.map((one) => element("option", { value: one, selected: one === details[key] }, one))));
  };
  const parts = [text("description", "Description", 2)];
  if (kind === "lora") {
    const weight = element("input", { type: "number", min: 0, max: 2, step: 0.01, value: details["preferred weight"] });
    parts.push(element("div", { class: "pair" }, choice("sd version", "Stable Diffusion version", VERSIONS), field("preferred weight", "Preferred weight (0: none)", weight, () => Number(weight.value))),
      text("activation text", "Activation text", 2), ...trainingTags(details.tags), text("negative text", "Negative prompt", 1));
  }
  if (kind === "checkpoints") {
    parts.push(element("div", { class: "pair" }, choice("vae", "Preferred VAE", details.vaes), choice("prediction type", "Prediction", details["prediction types"])));
    if (details.bases.length) parts.push(choice("base checkpoint", "Base checkpoint (lends text encoder and VAE)", details.bases));
  }
  parts.push(text("notes", "Notes", 4));
  if (kind === "lora") wireTags(parts);

  const picture = element("img", { alt: "Preview", hidden: !card.preview, src: card.preview ? at(card.preview) : "" });
  let fresh = null; // a new preview, kept until Save
  const file = element("input", { type: "file", accept: "image/*", hidden: true, "aria-label": "Preview from a file", onchange: () => { if (file.files[0]) take(file.files[0]); } });
  const take = (blob) => {
    fresh = blob;
    picture.src = URL.createObjectURL(blob);
    picture.hidden = false;
  };
  const takeSelected = async () => {
    const image = selectedImage();
    if (!image) { toast("Choose a picture of this tab's results first, or take one from a file."); return; }
    take(await (await fetch(at(image.url), { credentials: "same-origin" })).blob());
  };
  const save = element("button", { type: "submit", class: "webui-button primary" }, "Save");
  save.disabled = !details.may_change;
  const form = element("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); store(); } }, element("h3", {}, `${title}: ${details.name}`),
    element("div", { class: "columns" },
      element("div", { class: "side" }, element("div", { class: "preview" }, picture),
        details.may_change ? element("div", { class: "buttons" }, button("Replace preview", "Take the picture chosen in this tab's results", takeSelected, { class: "webui-button" }), button("From a file…", "Take a picture from a file", () => file.click(), { class: "webui-button" }), file) : null,
        element("dl", {}, ...Object.entries(details.facts).flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]))),
      element("div", { class: "fields" }, ...parts)),
    details.may_change ? null : element("p", {}, "Models are for everybody here, so only the administrator may change this."),
    element("div", { class: "buttons" }, save, button("Close", "Close without saving", () => dialog.close(), { class: "webui-button" })));
  const dialog = openDialog(form);

  async function store() {
    try {
      await call(`cards/${kind}/${card.id}`, Object.fromEntries([...fields].map(([key, { read }]) => [key, read()])));
      if (fresh) await call(`cards/${kind}/${card.id}/preview`, { picture: await blobToBase64(fresh) });
    } catch (error) {
      failed(error);
      return;
    }
    dialog.close();
    await saved();
  }
}

// The words a LoRA was trained with: a click adds one to the activation text; the dice puts some together.
function trainingTags(tags) {
  if (!tags.length) return [];
  const most = tags[0][1];
  const chips = tags.slice(0, 60).map(([tag, count]) => element("button", { type: "button", class: "chip", title: `${count} pictures` }, tag));
  const random = element("button", { type: "button", class: "webui-button random", title: "Words drawn by how often they were trained" }, "Generate random prompt");
  random.draw = () => tags.filter(([, count]) => Math.random() < count / most).slice(0, 24).map(([tag]) => tag).join(", ");
  return [element("div", { class: "training" }, element("span", { class: "label" }, "Trained with"), element("div", { class: "chips" }, ...chips), random)];
}

function wireTags(parts) {
  const training = parts.find((part) => part.classList.contains("training"));
  const box = parts.find((part) => part.firstChild?.textContent === "Activation text")?.querySelector("textarea");
  if (!training || !box) return;
  training.addEventListener("click", (event) => {
    if (event.target.matches(".chip")) box.value = [box.value.trim(), event.target.textContent].filter(Boolean).join(", ");
    if (event.target.matches(".random")) box.value = event.target.draw();
  });
}
