// PNG Info: drop a picture, read its texts, send it on. Everything shown is text, never HTML.

const search = new URL(import.meta.url).search;
const { element, button, icon, blobToBase64, toast } = await import(`./dom.js${search}`);

export function attachPngInfo({ host, server, trigger, deliver }) {
  let shown = null; // { file, info }
  const input = element("input", { type: "file", accept: "image/*", hidden: true, class: "webui-pnginfo-file", "aria-label": "Choose a picture",
    onchange: () => { if (input.files[0]) read(input.files[0]); input.value = ""; } });
  const picture = element("img", { alt: "", hidden: true });
  const zone = element("button", { type: "button", class: "zone", onclick: () => input.click() },
    element("span", { class: "hint" }, "Drop, paste or click to choose a picture"), picture);
  const details = element("div", { class: "details", "aria-live": "polite" });
  const targets = element("div", { class: "actions" }, ...["txt2img", "img2img", "inpaint", "extras"].map((target) => button(`Send to ${target}`, `Send to ${target}`,
    () => send(target), { id: `pnginfo_send_to_${target}`, class: "webui-button" })));
  targets.hidden = true;
  host.replaceChildren(input, element("div", { class: "left" }, zone, targets), details);

  host.addEventListener("dragover", (event) => event.preventDefault());
  host.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]); });
  document.addEventListener("paste", (event) => {
    const file = host.offsetParent && [...(event.clipboardData?.files ?? [])][0];
    if (file) { event.preventDefault(); read(file); }
  });

  async function read(file) {
    const info = await server.read_info({ data: await blobToBase64(file) });
    if (info.error) { toast(info.error, "error"); return; }
    shown = { file, info };
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    picture.hidden = false;
    targets.hidden = false;
    draw(info);
  }

  function draw({ infotext, program, prompt, negative_prompt: negative, parameters, items, width, height }) {
    const part = (title, text, copies = false) => element("section", {},
      element("h3", {}, title, copies ? icon("copy", `Copy ${title}`, () => navigator.clipboard?.writeText(text)) : null),
      element("pre", {}, text));
    const parts = [];
    if (program) parts.push(element("p", { class: "program" }, `Made with ${program}; what it says is translated as far as the programs agree.`));
    if (infotext) {
      parts.push(part("Prompt", prompt, true));
      if (negative) parts.push(part("Negative prompt", negative, true));
      parts.push(element("section", {}, element("h3", {}, "Parameters"), element("dl", {}, ...Object.entries(parameters).flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]))));
      parts.push(part("parameters", infotext, true));
    }
    for (const [key, text] of Object.entries(items)) parts.push(part(key, text));
    if (!parts.length) parts.push(element("p", { class: "hint" }, "Nothing found in the image."));
    details.replaceChildren(element("p", { class: "size" }, `${width} × ${height}`), ...parts);
  }

  function send(target) {
    if (!shown) return;
    const { file, info } = shown;
    if (target !== "txt2img") deliver(`${target}_image`, file);
    trigger("send", { target, infotext: info.infotext ?? "", width: info.width, height: info.height, everything: true });
  }
}
