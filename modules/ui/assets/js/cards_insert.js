// What a click on a card does to a prompt: puts its text in, or takes it out again.

const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// `text` begins with a tag such as <lora:name:1.0> (perhaps with words after it), or is a plain word. A tag is taken out
// whatever weight it has by now, its words with it if they still follow. Answers { value, added }.
export function toggleText(prompt, text, separator = " ") {
  const tag = text.match(/^<(\w+):([^:>]+):[^>]*>/);
  const rest = tag ? text.slice(tag[0].length) : "";
  const wanted = tag ? `<${tag[1]}:${literal(tag[2])}(?::[^>]*)?>(?:${literal(rest)})?` : `(?<![\\w-])${literal(text)}(?![\\w-])`;
  const blank = literal(separator);
  const found = prompt.match(new RegExp(`(?:${blank})?${wanted}`));
  if (found) return { value: prompt.slice(0, found.index) + prompt.slice(found.index + found[0].length), added: false };
  return { value: prompt ? prompt + separator + text : text, added: true };
}
