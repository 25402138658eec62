// The styles editor: choose or name a style, edit its texts, take over the page's prompts, save, delete.

const { element, button, toast } = await import(`./dom.js${new URL(import.meta.url).search}`);

// Resolves when the dialog is closed.
export async function editStyles({ bridge, prompt, negative, chosen }) {
  let { styles } = await bridge.styles();
  const names = element("datalist", { id: "webui_style_names" });
  const name = element("input", { type: "text", "aria-label": "Style", placeholder: "Choose a style or write a new name", oninput: () => fill() });
  name.setAttribute("list", names.id);
  const promptBox = element("textarea", { rows: 4, "aria-label": "Prompt", placeholder: "Prompt; {prompt} stands for what is in the prompt box" });
  const negativeBox = element("textarea", { rows: 3, "aria-label": "Negative prompt", placeholder: "Negative prompt" });
  const remove = button("Delete", "Delete this style", () => act("delete_style", { name: name.value }, `Delete the style "${name.value}"?`), { class: "webui-button" });
  const dialog = element("dialog", { class: "webui-dialog", "aria-label": "Styles" },
    element("h3", {}, "Styles"), names, element("label", {}, "Style", name), element("label", {}, "Prompt", promptBox), element("label", {}, "Negative prompt", negativeBox),
    element("div", { class: "buttons" },
      button("Copy the page's prompts", "Take over what is in the prompt boxes", () => { promptBox.value = prompt; negativeBox.value = negative; }, { class: "webui-button" }),
      remove, button("Save", "Save this style", () => act("save_style", { name: name.value, prompt: promptBox.value, negative_prompt: negativeBox.value }), { class: "webui-button primary" }),
      button("Close", "Close (Esc)", () => dialog.close(), { class: "webui-button" })));

  function list() {
    names.replaceChildren(...styles.map((style) => element("option", { value: style.name })));
    remove.disabled = !styles.some((style) => style.name === name.value);
  }

  function fill() {
    const style = styles.find((one) => one.name === name.value);
    if (style) { promptBox.value = style.prompt; negativeBox.value = style.negative_prompt; }
    list();
  }

  async function act(action, values, question) {
    if (question && !window.confirm(question)) return;
    try {
      ({ styles } = await bridge[action](values));
      list();
      toast(action === "save_style" ? "Saved." : "Deleted.");
    } catch (error) {
      toast(error.message, "error");
    }
  }

  name.value = chosen[0] ?? "";
  fill();
  document.querySelector(".gradio-container").append(dialog);
  dialog.showModal();
  await new Promise((closed) => { dialog.addEventListener("close", closed, { once: true }); });
  dialog.remove();
}
