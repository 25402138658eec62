// Prompt boxes: weight editing with Ctrl+Up/Down, moving items with Alt+Left/Right, token counters and bracket check
// (behaviour reference 1.11, 8.2, 8.5).

const { element, debounce } = await import(`./dom.js${new URL(import.meta.url).search}`);

const COUNT_AFTER_MS = 800;
const SHOWN_BRACKETS = 3;
const AROUND_BRACKET = 24; // letters
const BOXES = "[id$=_prompt] textarea, [id$=_neg_prompt] textarea";

export const isPrompt = (target) => target instanceof HTMLTextAreaElement && target.matches(BOXES);

// Put text in a box as typing would, so that Gradio and the browser's own undo see it.
export function replaceText(box, from, to, text, selection) {
  box.focus();
  box.setSelectionRange(from, to);
  if (!document.execCommand("insertText", false, text)) box.setRangeText(text, from, to, "end");
  box.setSelectionRange(...selection);
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

// The innermost block "open … close" around a place, without its brackets; null when there is none.
function blockAround(text, place, open, close) {
  let depth = 0;
  let from = -1;
  for (let k = place - 1; k >= 0; k -= 1) {
    if (text[k] === close) depth += 1;
    else if (text[k] === open) { if (depth === 0) { from = k; break; } depth -= 1; }
  }
  if (from < 0) return null;
  depth = 0;
  for (let k = place; k < text.length; k += 1) {
    if (text[k] === open) depth += 1;
    else if (text[k] === close) { if (depth === 0) return [from + 1, k]; depth -= 1; }
  }
  return null;
}

const WHITESPACE = { Tab: "\t", "Carriage Return": "\r", "Line Feed": "\n" };

function wordAround(text, place, config) {
  const white = (config.keyedit_delimiters_whitespace ?? Object.keys(WHITESPACE)).map((name) => WHITESPACE[name]).join("");
  const stops = (config.keyedit_delimiters ?? ".,\\/!?%^*;:{}=`~() ") + white;
  let [from, to] = [place, place];
  while (from > 0 && !stops.includes(text[from - 1])) from -= 1;
  while (to < text.length && !stops.includes(text[to])) to += 1;
  return [from, to];
}

const written = (weight) => {
  const rounded = Number(weight.toPrecision(12));
  return Number.isInteger(rounded) ? rounded.toFixed(1) : String(rounded);
};

// The prompt after one press of Ctrl+Up or Ctrl+Down: { from, to, text, selection } to put in, or null.
export function editWeight(text, start, end, isUp, config = {}) {
  let [from, to] = [start, end];
  if (from === to) {
    const found = blockAround(text, from, "<", ">") ?? blockAround(text, from, "(", ")") ?? blockAround(text, from, "[", "]");
    [from, to] = found ?? wordAround(text, from, config);
    if (found) {
      const inner = text.slice(from, to);
      const tail = inner.match(/:\s*-?[\d.]+$/);
      if (tail) to -= tail[0].length;
    }
    if (from === to) return null;
  } else {
    while (from < to && text[from] === " ") from += 1;
    while (to > from && text[to - 1] === " ") to -= 1;
  }
  let [open, close] = ["(", ")"];
  let step = config.keyedit_precision_attention ?? 0.1;
  if (text[from - 1] === "<") { [open, close] = ["<", ">"]; step = config.keyedit_precision_extra ?? 0.05; }
  let [outerFrom, outerTo] = [from, to];
  const inner = text.slice(from, to);
  let weight = 1;
  const given = text.slice(to).match(/^:\s*(-?[\d.]+)\s*([)>])/);
  if (given && text[from - 1] === open && given[2] === close) {
    weight = Number(given[1]);
    outerFrom = from - 1;
    outerTo = to + given[0].length;
  } else if (open === "(") {
    const bracket = text[from - 1] === "[" ? ["[", "]", -1] : ["(", ")", 1];
    let nested = 0;
    while (text[outerFrom - 1] === bracket[0] && text[outerTo] === bracket[1]) { outerFrom -= 1; outerTo += 1; nested += 1; }
    if (nested) weight = Math.round(1.1 ** (nested * bracket[2]) / step) * step;
  } else return null; // "<…>" without a number carries no weight
  weight += isUp ? step : -step;
  const plain = open === "(" && Number(weight.toPrecision(12)) === 1;
  const result = plain ? inner : `${open}${inner}:${written(weight)}${close}`;
  const lead = plain ? 0 : 1;
  return { from: outerFrom, to: outerTo, text: result, selection: [outerFrom + lead, outerFrom + lead + inner.length] };
}

// The prompt after moving the comma-separated items under the selection one place left or right, or null.
export function moveItems(text, start, end, isRight) {
  const items = text.split(",");
  let place = 0;
  const spans = items.map((item) => { const span = [place, place + item.length]; place += item.length + 1; return span; });
  const first = spans.findIndex(([, to]) => to >= start);
  let last = spans.findIndex(([, to]) => to >= end);
  if (last < 0) last = spans.length - 1;
  const neighbour = isRight ? last + 1 : first - 1;
  if (first < 0 || neighbour < 0 || neighbour >= items.length) return null;
  const trimmed = items.map((item) => item.trim());
  const moved = trimmed.splice(first, last - first + 1);
  trimmed.splice(isRight ? first + 1 : first - 1, 0, ...moved);
  const after = trimmed.join(", ");
  const before = trimmed.slice(0, isRight ? first + 1 : first - 1).join(", ");
  const from = before ? before.length + 2 : 0;
  return { text: after, selection: [from, from + moved.join(", ").length] };
}

const PAIRS = { "(": ")", "[": "]", "{": "}" };

// Words about brackets without a partner: how many there are, as A1111 says it, and where the first ones stand; ""
// when all have theirs.
export function bracketProblems(text) {
  const counts = [];
  const single = []; // places of brackets without a partner
  for (const [open, close] of Object.entries(PAIRS)) {
    const waiting = [];
    let [opened, closed] = [0, 0];
    for (let k = 0; k < text.length; k += 1) {
      if (text[k] === "\\") k += 1; // an escaped bracket is a letter
      else if (text[k] === open) { opened += 1; waiting.push(k); }
      else if (text[k] === close) { closed += 1; if (waiting.pop() === undefined) single.push(k); }
    }
    single.push(...waiting);
    if (opened !== closed) counts.push(`${open} ${close}: ${opened} opened, ${closed} closed`);
  }
  const places = single.sort((one, other) => one - other).slice(0, SHOWN_BRACKETS).map((k) => (text[k] in PAIRS
    ? `"${text[k]}" is never closed: ${cut(text.slice(k), AROUND_BRACKET)}`
    : `"${text[k]}" closes nothing: ${cut(text.slice(0, k + 1), -AROUND_BRACKET)}`));
  return [...counts, ...places].join("\n");
}

// The beginning of a text, or for a negative count its end, in one line.
function cut(text, count) {
  const line = text.replace(/\s+/g, " ");
  if (line.length <= Math.abs(count)) return line;
  return count > 0 ? `${line.slice(0, count)}…` : `…${line.slice(count)}`;
}

export function watchPrompts(bridge) {
  document.addEventListener("keydown", (event) => {
    if (!isPrompt(event.target)) return;
    const box = event.target;
    const { value, selectionStart: start, selectionEnd: end } = box;
    if ((event.ctrlKey || event.metaKey) && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      const edit = editWeight(value, start, end, event.key === "ArrowUp", bridge.config);
      if (edit) replaceText(box, edit.from, edit.to, edit.text, edit.selection);
    } else if (event.altKey && (event.key === "ArrowLeft" || event.key === "ArrowRight") && bridge.config.keyedit_move !== false) {
      event.preventDefault();
      const edit = moveItems(value, start, end, event.key === "ArrowRight");
      if (edit) replaceText(box, 0, value.length, edit.text, edit.selection);
    }
  });
  const counters = new WeakMap();
  const recount = debounce(COUNT_AFTER_MS, () => {
    if (bridge.config.disable_token_counters) return;
    for (const box of document.querySelectorAll(BOXES)) if (box.offsetParent) count(box);
  });

  async function count(box) {
    let counter = counters.get(box);
    if (!counter) {
      const id = `${box.closest("[id]").id}_brackets`;
      counter = element("span", { class: "webui-counter", role: "note", "aria-label": "Tokens", hidden: true });
      counter.brackets = element("span", { id, hidden: true }); // what screen readers say of the box
      box.setAttribute("aria-describedby", id);
      box.closest(".block, .form, label")?.parentElement?.append(counter, counter.brackets);
      counters.set(box, counter);
    }
    const text = box.value;
    const problems = bracketProblems(text);
    counter.classList.toggle("wrong", Boolean(problems));
    counter.title = problems || "Tokens / limit of the chunk";
    counter.brackets.textContent = problems;
    box.setAttribute("aria-invalid", String(Boolean(problems)));
    if (!text) { counter.hidden = true; return; }
    const tab = box.closest("[id]").id.split("_")[0];
    const styles = [...document.querySelectorAll(`#${tab}_styles .token span`)].map((token) => token.textContent);
    const steps = Number(document.querySelector(`#${tab}_steps input[type=number]`)?.value ?? 20);
    const answer = await bridge.countTokens({ text, styles, steps, negative: /neg/.test(box.closest("[id]").id) });
    if (box.value !== text) return;
    counter.textContent = answer.text;
    counter.hidden = false;
  }

  document.addEventListener("input", (event) => { if (isPrompt(event.target)) recount(); });
  document.addEventListener("focusin", (event) => { if (isPrompt(event.target)) recount(); });
  recount();
}
