// Names offered while a prompt is written: <lora:…> and <hypernet:…>, embeddings, and styles (whose text is put in).
// Arrows choose, Enter or Tab puts in, Esc closes; the box keeps the focus, so typing is never in the way.

const search = new URL(import.meta.url).search;
const { element } = await import(`./dom.js${search}`);
const { isPrompt, replaceText } = await import(`./prompts.js${search}`);

const OFFERED = 12;
const FRESH_MS = 30_000; // names are asked for again after this long
const WORD_MIN = 2; // letters before embeddings and styles are offered

// What stands before the cursor that could be completed: { kind, from, query }, or null.
export function atCursor(text, place) {
  const before = text.slice(0, place);
  const tag = before.match(/<(?:(lora|lyco|hypernet):([^:<>\n]*)|([a-z]*))$/i);
  if (tag) return tag[1] === undefined ? { kind: "tag", from: tag.index, query: tag[3] } : { kind: tag[1].toLowerCase(), from: tag.index, query: tag[2] };
  if (/<[^>\n]*$/.test(before)) return null; // the weight of a tag
  const word = before.match(/[^\s,()[\]{}|:<>]+$/);
  return word && word[0].length >= WORD_MIN ? { kind: "word", from: word.index, query: word[0] } : null;
}

// The entries for that, best first: { text, label, note }.
export function offers({ kind, query }, names) {
  const tags = (list, tag, note) => list.map((name) => ({ label: name, text: `<${tag}:${name}:${names.multiplier}>`, note }));
  const all = {
    tag: () => [["lora", "LoRA"], ["hypernet", "Hypernetworks"]].map(([tag, note]) => ({ label: tag, text: `<${tag}:`, note, goesOn: true })),
    lora: () => tags(names.loras, "lora", "LoRA"),
    lyco: () => tags(names.loras, "lyco", "LoRA"),
    hypernet: () => tags(names.hypernetworks, "hypernet", "Hypernetworks"),
    word: () => [
      ...names.embeddings.map((name) => ({ label: name, text: name, note: "Textual Inversion" })),
      ...names.styles.map(({ name, prompt }) => ({ label: name, text: prompt.replaceAll("{prompt}", "").replace(/^[\s,]+|[\s,]+$/g, ""), note: "Style" })).filter(({ text }) => text),
    ],
  }[kind]();
  const wanted = query.toLowerCase();
  const rank = ({ label }) => (label.toLowerCase().startsWith(wanted) ? 0 : label.toLowerCase().includes(wanted) ? 1 : 2);
  return all.filter((one) => rank(one) < 2).sort((one, other) => rank(one) - rank(other)).slice(0, OFFERED);
}

const SHAPE = ["fontFamily", "fontSize", "fontWeight", "letterSpacing", "lineHeight", "paddingTop", "paddingRight", "paddingBottom", "paddingLeft", "borderTopWidth", "borderLeftWidth", "boxSizing"];

// Where a place in a text box is in the window: its left edge and the bottom of its line.
function placeOnScreen(box, place) {
  const style = getComputedStyle(box);
  const mirror = element("div", {});
  for (const name of SHAPE) mirror.style[name] = style[name];
  Object.assign(mirror.style, { position: "absolute", visibility: "hidden", whiteSpace: "pre-wrap", overflowWrap: "break-word", width: `${box.offsetWidth}px`, borderStyle: "solid" });
  const mark = element("span", {}, "\u200b");
  mirror.append(box.value.slice(0, place), mark);
  document.body.append(mirror);
  const { left, top } = box.getBoundingClientRect();
  const at = { x: left + mark.offsetLeft, y: top + mark.offsetTop + mark.offsetHeight - box.scrollTop };
  mirror.remove();
  return at;
}

export function watchCompletion(bridge) {
  const list = element("ul", { class: "webui-complete", id: "webui_complete", role: "listbox", "aria-label": "Suggestions", hidden: true });
  let box = null; // the box that is completed
  let found = null; // what stands at its cursor
  let entries = [];
  let chosen = 0;
  let asked = null; // { at, names: Promise }

  function names() {
    if (!asked || Date.now() - asked.at > FRESH_MS) asked = { at: Date.now(), names: bridge.promptNames() };
    return asked.names;
  }

  async function look(target) {
    const { value, selectionStart: place } = target;
    const at = target.selectionEnd !== place ? null : atCursor(value, place);
    if (!at) { close(); return; }
    const known = await names();
    if (target.value !== value || target.selectionStart !== place || document.activeElement !== target) return;
    const fresh = offers(at, known).filter(({ text }) => text !== value.slice(at.from, place));
    if (!fresh.length) { close(); return; }
    [box, found, entries, chosen] = [target, at, fresh, 0];
    draw();
  }

  function draw() {
    if (!list.isConnected) document.body.append(list);
    list.replaceChildren(...entries.map(({ label, note }, k) => element("li", { id: `webui_complete_${k}`, role: "option", "aria-selected": String(k === chosen),
      onmousedown: (event) => { event.preventDefault(); chosen = k; accept(); } }, element("span", { class: "name" }, label), element("small", {}, note))));
    list.hidden = false;
    const { x, y } = placeOnScreen(box, found.from);
    list.style.left = `${Math.max(4, Math.min(x, innerWidth - list.offsetWidth - 4))}px`;
    list.style.top = `${Math.min(y + 2, Math.max(4, innerHeight - list.offsetHeight - 4))}px`;
    list.children[chosen].scrollIntoView({ block: "nearest" });
    for (const [name, value] of [["aria-autocomplete", "list"], ["aria-controls", list.id], ["aria-activedescendant", `webui_complete_${chosen}`]]) box.setAttribute(name, value);
  }

  function close() {
    if (list.hidden) return;
    list.hidden = true;
    box?.removeAttribute("aria-activedescendant");
    box = null;
  }

  function accept() {
    const target = box;
    const { text, goesOn } = entries[chosen];
    const { from } = found;
    const end = target.selectionEnd;
    close();
    replaceText(target, from, end, text, [from + text.length, from + text.length]);
    if (goesOn) look(target);
    else close();
  }

  document.addEventListener("input", (event) => { if (event.isTrusted && isPrompt(event.target)) look(event.target); });
  document.addEventListener("focusout", (event) => { if (event.target === box) close(); });
  document.addEventListener("pointerdown", (event) => { if (event.target === box) close(); });
  document.addEventListener("keydown", (event) => {
    if (list.hidden || event.target !== box || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const move = (by) => { chosen = (chosen + by + entries.length) % entries.length; draw(); };
    const action = { ArrowDown: () => move(1), ArrowUp: () => move(-1), Enter: accept, Tab: accept, Escape: close }[event.key];
    if (action) {
      event.preventDefault();
      event.stopPropagation();
      action();
    } else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) close();
  }, true);
}
