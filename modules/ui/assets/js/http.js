// Our own routes: JSON in, JSON out; a refusal becomes an Error with the server's words.

export const at = (path) => new URL(path, document.baseURI).href;

export async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(at(path), { credentials: "same-origin", ...options });
  const content = await answer.json().catch(() => null);
  if (!answer.ok) {
    const words = content?.detail;
    throw new Error(typeof words === "string" ? words : `${path.split("?")[0]}: the server answered ${answer.status}`);
  }
  return content;
}

// "a=1&b=x" of the values that say something.
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  return new URLSearchParams(given.map(([key, value]) => [key, value === true ? "1" : String(value)])).toString();
}
