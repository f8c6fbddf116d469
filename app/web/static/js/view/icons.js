// Signs of the sprite in index.html, and buttons that are nothing but a sign.
import { lang } from "../i18n/index.js";
import { classes, html } from "./html.js";

export const Icon = ({ name, size, extra }) => html`
  <svg class=${classes("icon", size && `icon--${size}`, extra)} aria-hidden="true"><use href=${`#${name}`} /></svg>`;

/** @param {{icon: string, label: string, extra?: string, size?: number}} props And those of a button. */
export const IconButton = ({ icon, label, extra, size, ...rest }) => html`
  <button class=${classes("icon-button", extra)} type="button" aria-label=${label} title=${label} ...${rest}>
    <${Icon} name=${icon} size=${size} />
  </button>`;

export const Logo = ({ extra }) => html`
  <svg class=${extra} viewBox="0 0 24 24" aria-hidden="true">
    <rect width="24" height="24" rx="7" fill="currentColor" />
    <path class="logo-glyph" transform="translate(-.1 -.3)" d="M16.1 5.7H8.2v13.6l2.7-2.3h2.4a3.7 3.7 0 0 0 0-7.4H8.2" />
  </svg>`;

const E = "M0 15h10a5 5 0 1 0-1.6 3.7";
const A = "M0 15a5 5 0 1 0 10 0a5 5 0 1 0-10 0M10 10v10";
// The letters of the wordmark: where each stands, and its line.
const WORDMARKS = {
  ru: [84.6, [[1.3, "M0 15a5 5 0 1 0 10 0a5 5 0 1 0-10 0M0 15C0 8 1.5 5.2 9.3 3.8"], [15.7, E], [30.1, "M8.6 11.5a5 5 0 1 0 0 7"], [42.5, E],
    [56.9, "M1.9 19.7c1.5-2.4 2-5.3 2-9.4h6v9.4M0 23.3v-3.6h12v3.6"], [73.3, A]]],
  en: [82.6, [[1.3, "M0 3v17M0 15a5 5 0 1 0 10 0a5 5 0 1 0-10 0"], [15.7, E],
    [30.1, "M7.7 11.5c-.8-1-2-1.5-3.5-1.5-2.1 0-3.6 1-3.6 2.6 0 3.5 7.5 1.4 7.5 4.9 0 1.5-1.6 2.5-3.9 2.5-1.8 0-3.2-.6-4.1-1.7"], [42.5, E],
    [56.9, "M0 15a5 5 0 1 0 10 0a5 5 0 1 0-10 0M10 3v17"], [71.3, A]]],
};

export function Wordmark() {
  const [width, letters] = WORDMARKS[lang.value];
  return html`
    <svg class="wordmark" aria-hidden="true" viewBox=${`0 0 ${width} 25.2`}>
      ${letters.map(([x, d]) => html`<path transform=${`translate(${x} 0)`} d=${d} />`)}
    </svg>`;
}
