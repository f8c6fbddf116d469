// How a name is drawn where there is no picture.

/** First letters of the first two words of a name: `Анна.Ковалёва` is АК. */
export function initials(/** @type {string} */ name) {
  const words = name.split(/[^\p{L}\p{N}\p{M}]+/u).filter(Boolean);
  const letters = words.slice(0, 2).map((word) => [...word][0]);
  return letters.join("").toUpperCase() || [...name][0] || "?";
}

/** A number from 1 to 8, always the same for one name: its CRC-32. */
export function hue(/** @type {string} */ name) {
  let crc = -1;
  for (const byte of new TextEncoder().encode(name)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return (~crc >>> 0) % 8 + 1;
}
