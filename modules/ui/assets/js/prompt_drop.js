// A picture or a text file dropped on a prompt box: its parameters are read into the page, as by the paste button.

const { toast, blobToBase64 } = await import(`./dom.js${new URL(import.meta.url).search}`);

const BOXES = "[id$=_prompt] textarea, [id$=_neg_prompt] textarea";
const TAB = /^(txt2img|img2img|inpaint)_/;
const TEXT_BYTES_MAX = 1_000_000; // an infotext is a few kilobytes

// The file that a drag carries: its own, or a picture of this page. Null for anything else, such as text.
function carried(transfer) {
  if (transfer.files[0]) return Promise.resolve(transfer.files[0]);
  const address = transfer.getData("text/uri-list").split("\n")[0].trim();
  if (!address || new URL(address, document.baseURI).origin !== location.origin) return null;
  return fetch(address, { credentials: "same-origin" }).then((answer) => answer.blob());
}

export function watchPromptDrop(bridge) {
  const boxOf = (event) => event.target.closest?.(BOXES) ?? null;
  const isFile = (transfer) => ["Files", "text/uri-list"].some((kind) => transfer?.types.includes(kind));

  document.addEventListener("dragover", (event) => {
    const box = boxOf(event);
    if (!box || !isFile(event.dataTransfer)) return;
    event.preventDefault();
    box.classList.add("webui-over");
  }, true);
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, (event) => boxOf(event)?.classList.remove("webui-over"), true);

  document.addEventListener("drop", (event) => {
    const tab = boxOf(event)?.closest("[id]").id.match(TAB)?.[1];
    const coming = tab && carried(event.dataTransfer);
    if (!coming) return;
    event.preventDefault();
    event.stopPropagation();
    coming.then((file) => read(tab, file)).catch((error) => toast(error.message, "error"));
  }, true);

  async function read(tab, file) {
    const isText = file.type.startsWith("text/") || /\.txt$/i.test(file.name ?? "");
    if (isText && file.size > TEXT_BYTES_MAX) throw new Error(`${file.name} is too large to be the parameters of a picture.`);
    const text = isText ? await file.text() : (await bridge.readInfotext(await blobToBase64(file))).infotext;
    if (!text?.trim()) { toast("Nothing found in the image."); return; }
    const box = document.querySelector(`#${tab}_prompt textarea`);
    box.value = text.trim();
    box.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise(requestAnimationFrame); // Gradio takes the text over
    document.getElementById(`${tab}_paste`).click();
  }
}
