// The page in another language: texts, tooltips and placeholders are replaced where they equal, trimmed, a key of the
// table that modules/ui/localization.py read; "{n}" in a key stands for a number, "{}" for a name. Only what the program itself says: never prompts, names, infotexts.

const ATTRIBUTES = ["title", "placeholder", "aria-label"];

// Places whose texts are data. An option's text may also be its value, and a name in infotext; it stays as it is.
const DATA = [
  ".setting small", "script", "style", "textarea", "pre", "code", "dd", "option", "[role=option]", "[contenteditable=true]", "[data-user]", ".token",
  ".infotext", ".message", ".barText", ".title", ".facts .text", ".chip", ".tags > *", ".webui-counter", ".webui-cards .card", ".folder",
].join(",");

const KEPT_IN = ".webui-gallery .text, .webui-complete";

const OWN = ".token, [data-user], .webui-cards .card, .webui-gallery .tile"; // whose attributes are data too

const LONGEST = 300; // characters of a text that patterns are tried on

const PLACE = /\{n?\}/;
const PLACES = /\{n?\}/g;

// "Take {} out" as a regular expression.
export function pattern(key) {
  const shape = key.split(/(\{n?\})/).map((part) => (part === "{}" ? "(.+?)" : part === "{n}" ? "([\\d.,\\s\u202f\u2019]+)" : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  return new RegExp(`^${shape.join("")}$`, "s");
}

const says = (text) => /\p{L}/u.test(text);

export class Localization {
  constructor() {
    this.table = new Map();
    this.patterns = []; // [RegExp, translation] of the keys with "{}" or "{n}"
    this.written = new WeakMap(); // text node → what we wrote into it
    this.given = new WeakMap(); // element → { attribute: what we wrote into it }
  }

  isData(node) {
    const holder = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    return !holder || Boolean(holder.closest(DATA) || holder.closest(KEPT_IN));
  }

  // Take over a table and go through the page, now and whenever it changes.
  start(table) {
    const { rtl, ...texts } = table;
    this.table = new Map(Object.entries(texts).map(([key, text]) => [key.trim(), text]));
    this.patterns = [...this.table].filter(([key]) => PLACE.test(key)).map(([key, text]) => [pattern(key), text]);
    if (rtl) document.documentElement.dir = "rtl";
    this.walk(document.body);
    new MutationObserver((changes) => {
      for (const change of changes) {
        if (change.type === "childList") change.addedNodes.forEach((node) => this.walk(node));
        else if (change.type === "characterData") this.text(change.target);
        else this.attributes(change.target);
      }
    }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES });
  }

  // The translation of a text of ours, line by line if it is none as a whole; undefined when there is none.
  of(text) {
    const known = this.table.get(text);
    if (!known && text.includes("\n")) {
      const lines = text.split("\n").map((line) => [line, this.of(line.trim())]);
      return lines.some(([, translation]) => translation) ? lines.map(([line, translation]) => translation ?? line).join("\n") : undefined;
    }
    if (known || text.length > LONGEST || !says(text)) return known;
    for (const [shape, translation] of this.patterns) {
      const found = shape.exec(text);
      if (found) {
        let place = 0;
        return translation.replace(PLACES, () => { place += 1; return this.table.get(found[place]) ?? found[place]; });
      }
    }
    return undefined;
  }

  walk(root) {
    if (root.nodeType === Node.TEXT_NODE) { this.text(root); return; }
    if (root.nodeType !== Node.ELEMENT_NODE) return;
    this.attributes(root);
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
      if (nodes.currentNode.nodeType === Node.TEXT_NODE) this.text(nodes.currentNode);
      else this.attributes(nodes.currentNode);
    }
  }

  text(node) {
    const { data } = node;
    if (this.written.get(node) === data) return;
    if (!says(data) || this.isData(node)) return;
    const translation = this.of(data.trim());
    if (!translation) return;
    const whole = data.replace(data.trim(), () => translation);
    this.written.set(node, whole);
    node.data = whole;
  }

  // A prompt box's own placeholder is ours, though what is written in it is not.
  attributes(node) {
    for (const name of ATTRIBUTES) {
      const given = node.getAttribute(name);
      if (!given || this.given.get(node)?.[name] === given) continue;
      const translation = this.of(given.trim());
      if (translation && translation !== given && !node.closest(OWN)) {
        this.given.set(node, { ...this.given.get(node), [name]: translation });
        node.setAttribute(name, translation);
      }
    }
  }
}

// Every text of the page that a table could translate: the template for a new language.
export function collect() {
  const localization = new Localization();
  const found = new Set();
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) {
    const node = nodes.currentNode;
    if (node.nodeType === Node.TEXT_NODE) { if (says(node.data) && !localization.isData(node)) found.add(node.data.trim()); }
    else if (!node.closest(OWN)) for (const name of ATTRIBUTES) if (says(node.getAttribute(name) ?? "")) found.add(node.getAttribute(name).trim());
  }
  return [...found].sort();
}

export async function localize(bridge) {
  const { name, table } = await bridge.localization();
  if (!Object.keys(table).length) return;
  document.documentElement.lang = name.replace("_", "-");
  new Localization().start(table);
}
