// Which words of a message were looked for. The server knows the stems of words; here it is enough
// that the beginnings agree. Pure.

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const ENDING = 3; // letters by which forms of one word may differ
const BEGINNING = 3; // letters that have to agree
const BEFORE = 40; // characters that are shown before the first found word

const folded = (text) => text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");

function isForm(/** @type {string} */ word, /** @type {string} */ wanted) {
  let same = 0;
  while (same < word.length && same < wanted.length && word[same] === wanted[same]) same++;
  return same >= Math.min(wanted.length, Math.max(BEGINNING, wanted.length - ENDING));
}

/**
 * A text in pieces; those that were looked for have `isFound`. What lies long before the first of them is left out.
 * @returns {{text: string, isFound: boolean}[]}
 */
export function marked(/** @type {string} */ text, /** @type {string} */ q) {
  const wanted = (q.match(WORD) ?? []).map(folded);
  const parts = [];
  let end = 0;
  for (const { 0: word, index } of text.matchAll(WORD)) {
    if (!wanted.some((each) => isForm(folded(word), each))) continue;
    if (index > end || !parts.length) parts.push({ text: text.slice(end, index), isFound: false });
    parts.push({ text: word, isFound: true });
    end = index + word.length;
  }
  parts.push({ text: text.slice(end), isFound: false });
  const [first] = parts;
  if (parts.length > 1 && first.text.length > BEFORE) parts[0] = { ...first, text: `…${first.text.slice(-BEFORE).replace(/^\S*\s/, "")}` };
  return parts.filter((part) => part.text);
}
