// How large a file is, in words.
import { lang } from "../i18n/index.js";

const UNITS = ["kilobyte", "megabyte", "gigabyte"];

/** `320 КБ`, `2,4 MB`: in thousands, never less than one. */
export function bytes(/** @type {number} */ count) {
  const at = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3) - 1));
  const value = Math.max(count / 1000 ** (at + 1), 0.1);
  return value.toLocaleString(lang.value, { style: "unit", unit: UNITS[at], unitDisplay: "short", maximumFractionDigits: value < 10 ? 1 : 0 });
}

/** The ending of a file's name, for people: `PDF`; empty if there is none. */
export const ending = (/** @type {string} */ name) => (/\.([\p{L}\p{N}]{1,8})$/u.exec(name)?.[1] ?? "").toUpperCase();
