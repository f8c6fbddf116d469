// Messages that are nothing but emoji.

const ONLY = /^(?:\p{Extended_Pictographic}(?:\ufe0f|\p{Emoji_Modifier}|\u200d\p{Extended_Pictographic})*|\p{Regional_Indicator}{2}|\s){1,9}$/u;

/** Whether a text is one to three emoji and nothing else; such a message is shown large. */
export function isOnlyEmoji(/** @type {string} */ text) {
  if (text.length > 40 || !ONLY.test(text) || !text.trim()) return false;
  return [...new Intl.Segmenter().segment(text.replace(/\s/g, ""))].length <= 3;
}
