// Batch: the switch between one picture and many, and the form of many (modules/ui/parts/batch.py). Generate sends it.

const search = new URL(import.meta.url).search;
const { element, icon, toast } = await import(`./dom.js${search}`);

const FIELDS = ["Prompt", "Negative prompt", "Seed", "CFG scale", "Sampler", "Steps", "Model hash"]; // A1111's
const EMPTY = { on: false, from: "uploads", pictures: [], masks: [], input: "", output: "", mask: "", info: "", png_info: false, fields: [] };

export function attachBatch({ tab, hasMasks, host, props, watch, bridge }) {
  let value = { ...EMPTY };
  let count = 0;
  const id = (name) => `${tab}_batch_${name}`;

  const segments = (label, entries, chosen) => {
    const buttons = entries.map(([name, text]) => element("button", { type: "button", id: id(name), onclick: () => chosen(name) }, text));
    const node = element("div", { class: "segments", role: "group", "aria-label": label }, ...buttons);
    return { node, show: (name) => buttons.forEach((one, place) => one.setAttribute("aria-pressed", String(entries[place][0] === name))) };
  };

  const mode = segments("What to start from", [["single", "One picture"], ["many", "Batch"]], (name) => change({ on: name === "many" }));
  const from = segments("Where the pictures are", [["uploads", "Upload"], ["folder", "From directory"]], (name) => change({ from: name }));

  // A place to drop files, and the list of what is in it.
  function files(name, title) {
    const input = element("input", { type: "file", accept: "image/*", multiple: true, hidden: true, class: `webui-batch-${name}`, "aria-label": title,
      onchange: () => { take([...input.files]); input.value = ""; } });
    const zone = element("button", { type: "button", class: "zone", onclick: () => input.click() });
    const list = element("ul", { "aria-label": title });
    const clear = icon("trash", "Take all out", () => change({ [name]: [] }));
    const node = element("div", { class: "files" }, input, element("div", { class: "line" }, zone, clear), list);

    async function take(given) {
      const found = given.filter((file) => file.type.startsWith("image/"));
      const added = [];
      zone.classList.add("busy");
      for (const file of found) {
        try {
          added.push({ sha256: await bridge.putPicture(file), name: file.name });
          zone.textContent = `${added.length} / ${found.length}`;
        } catch (error) {
          toast(`${file.name}: ${error.message}`, "error");
        }
      }
      zone.classList.remove("busy");
      change({ [name]: [...value[name], ...added] });
    }

    node.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
    node.addEventListener("dragleave", () => zone.classList.remove("over"));
    node.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take([...event.dataTransfer.files]); });
    return { node, show() {
      const held = value[name];
      zone.replaceChildren(element("span", {}, title), held.length ? element("b", { "data-user": "" }, String(held.length)) : "");
      clear.style.visibility = held.length ? "visible" : "hidden";
      list.hidden = !held.length;
      list.replaceChildren(...held.map((one) => element("li", {}, element("span", { class: "name", "data-user": "" }, one.name),
        icon("close", "Take this picture out", () => change({ [name]: held.filter((other) => other !== one) })))));
    } };
  }

  function folder(name, label, placeholder) {
    const input = element("input", { type: "text", id: id(`${name}_dir`), placeholder, spellcheck: false, oninput: () => { value = { ...value, [name]: input.value }; keep(); } });
    return { node: element("label", { class: "folder", htmlFor: input.id }, element("span", {}, label), input), show: () => { if (input.value !== value[name]) input.value = value[name]; } };
  }

  function check(label, isOn, toggled) {
    count += 1;
    const input = element("input", { type: "checkbox", id: id(`check_${count}`), onchange: () => toggled(input.checked) });
    return { node: element("label", { class: "check", htmlFor: input.id }, input, element("span", {}, label)), show: () => { input.checked = isOn(); } };
  }

  const uploads = [files("pictures", "Drop or click to add pictures"), ...(hasMasks ? [files("masks", "Drop or click to add masks")] : [])];
  const folders = [
    folder("input", "Input directory", "A directory on the machine the server runs on"),
    folder("output", "Output directory", "Empty: where the settings say"),
    ...(hasMasks ? [folder("mask", "Inpaint batch mask directory", "One mask for all, or one of the same name for each")] : []),
  ];
  const append = check("Append png info to prompts", () => value.png_info, (on) => change({ png_info: on, fields: on && !value.fields.length ? ["Prompt"] : value.fields }));
  const fields = FIELDS.map((field) => check(field, () => value.fields.includes(field), (on) => change({ fields: FIELDS.filter((one) => (one === field ? on : value.fields.includes(one))) })));
  const infoFolder = folder("info", "PNG info directory", "Empty: the pictures' own");
  const taken = element("div", { class: "taken" }, infoFolder.node,
    element("fieldset", {}, element("legend", {}, "Parameters to take from png info"), ...fields.map((one) => one.node)));
  const uploadPart = element("div", { class: "part" }, ...uploads.map((one) => one.node));
  const folderPart = element("div", { class: "part" }, ...folders.map((one) => one.node));
  const body = element("div", { class: "body" }, from.node, uploadPart, folderPart, append.node, taken);
  host.replaceChildren(mode.node, body);

  function keep() {
    props.value = value;
    bridge.draftSoon();
  }

  function change(changes) {
    value = { ...value, ...changes };
    draw();
    keep();
  }

  function draw() {
    mode.show(value.on ? "many" : "single");
    from.show(value.from);
    body.hidden = !value.on;
    host.classList.toggle("is-on", value.on);
    uploadPart.hidden = value.from !== "uploads";
    folderPart.hidden = value.from !== "folder";
    taken.hidden = !value.png_info;
    infoFolder.node.hidden = value.from !== "folder";
    for (const part of [...uploads, ...folders, append, infoFolder, ...fields]) part.show();
  }

  const restore = () => {
    if (props.value && props.value !== value) { value = { ...EMPTY, ...props.value }; draw(); }
  };
  watch("value", restore);
  restore();
  draw();

  let joined = null;
  return {
    // The editor's own row of what the picture is used for leads here too, as A1111's row of tabs does.
    join(editor) {
      const modes = editor.root.querySelector(".webui-modes");
      if (!modes || joined === editor) return;
      joined = editor;
      modes.append(element("button", { type: "button", id: id("open"), title: "Many pictures, one after another", onclick: () => { change({ on: true }); host.querySelector("button").focus(); } }, "Batch"));
      modes.hidden = false;
      host.classList.add("is-joined");
    },
  };
}
