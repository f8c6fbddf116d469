// Which language the page speaks, and every sentence of it.
import { signal } from "@preact/signals";

/** @typedef {"ru" | "en"} Language */

const DICTIONARIES = { ru: () => import("./ru.js"), en: () => import("./en.js") };
const KEY = "language"; // in localStorage: the chosen one

/** The language of the page. A chosen one counts, then that of the browser. */
export const lang = signal(/** @type {Language} */ (chosenLanguage() ?? (navigator.language.startsWith("ru") ? "ru" : "en")));

let sentences = {};

/** Loads the sentences of a language, and speaks it from then on. */
export async function speak(/** @type {Language} */ language) {
  sentences = (await DICTIONARIES[language]()).default;
  lang.value = language;
}

/** Speaks a language now and after the next start. */
export function chooseLanguage(/** @type {Language} */ language) {
  localStorage.setItem(KEY, language);
  return speak(language);
}

/** The language that was chosen on this device, if one was. */
export function chosenLanguage() {
  const language = localStorage.getItem(KEY);
  return language === "ru" || language === "en" ? language : undefined;
}

/**
 * The sentence of a key in the language of the page.
 * @param {string} key
 * @param {Record<string, string | number>} [values] What stands for `{name}` in it; `n` also
 *   decides between the forms of a plural.
 */
export function t(key, values = {}) {
  const language = lang.value;
  let sentence = sentences[key];
  if (typeof sentence === "object") sentence = sentence[rules(language).select(values.n)] ?? sentence.other;
  if (sentence === undefined) throw new Error(`no sentence "${key}" in "${language}"`);
  return sentence.replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));
}

// They are dear to make, and each sentence with a number wants them.
const [rules, numbers] = [Intl.PluralRules, Intl.NumberFormat].map((Format) => {
  const made = {};
  return (language) => (made[language] ??= new Format(language));
});
const shown = (value) => (typeof value === "number" ? numbers(lang.peek()).format(value) : value);
