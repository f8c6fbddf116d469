// Short notes above the composer, at most two at a time.
import { signal } from "@preact/signals";

import { html } from "./html.js";

const SHOWN_MS = 5000;
const WITH_ACTION_MS = 10_000;
const toasts = signal([]);
let count = 0;

/**
 * Says something for some seconds.
 * @param {string} text
 * @param {{label: string, run: () => void}} [action] What can be done about it.
 */
export function toast(text, action) {
  const one = { id: ++count, text, action };
  toasts.value = [...toasts.value.slice(-1), one];
  setTimeout(() => close(one), action ? WITH_ACTION_MS : SHOWN_MS);
}

const close = (one) => (toasts.value = toasts.value.filter((each) => each !== one));

export const Toasts = () => html`
  <div class="toasts" role="status">
    ${toasts.value.map((one) => html`
      <div class="toast" key=${one.id}>
        <span class="grow">${one.text}</span>
        ${one.action && html`<button class="link" type="button" onClick=${() => (one.action.run(), close(one))}>${one.action.label}</button>`}
      </div>`)}
  </div>`;
