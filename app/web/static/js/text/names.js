// How a name is drawn where there is no picture.

/** First letters of the first two words of a name: `Анна.Ковалёва` is АК. */
export function initials(/** @type {string} */ name) {
  const words = name.split(/[^\p{L}\p{N}\p{M}]+/u).filter(Boolean);
  const letters = words.slice(0, 2).map((word) => [...word][0]);
  return letters.join("").toUpperCase() || [...name][0] || "?";
}

/** A number from 1 to 8, always the same for one name. */
export function hue(/** @type {string} */ name) {
  let hash = 2166136261; // FNV-1a
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 16777619);
  return ((hash >>> 16) % 8) + 1;
}
