// Links in what people write. Nothing is fetched for them.

const LINK = /(?:https?:\/\/|www\.)[^\s<>"«»“”]+|[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+/giu;
const TRAILING = /[.,;:!?'’…]+$/;
const PAIRS = { ")": "(", "]": "[", "}": "{" };

/**
 * Splits a text into strings and links.
 * @returns {(string | {href: string, text: string})[]}
 */
export function split(/** @type {string} */ text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const found = trimmed(match[0]);
    const href = hrefOf(found);
    if (!href) continue;
    if (match.index > end) parts.push(text.slice(end, match.index));
    parts.push({ href, text: found });
    end = match.index + found.length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

// A full stop or a bracket behind a link belongs to the sentence, unless it was opened in the link.
function trimmed(link) {
  for (;;) {
    const before = link;
    link = link.replace(TRAILING, "");
    const last = link.at(-1);
    if (PAIRS[last] && link.split(last).length > link.split(PAIRS[last]).length) link = link.slice(0, -1);
    if (link === before) return link;
  }
}

function hrefOf(link) {
  const href = /^https?:/i.test(link) ? link : /^www\./i.test(link) ? `https://${link}` : `mailto:${link}`;
  return URL.canParse(href) && (href.startsWith("mailto:") || new URL(href).hostname.includes(".") || /^https?:/i.test(link))
    ? href
    : undefined;
}
