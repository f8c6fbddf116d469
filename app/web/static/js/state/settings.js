// How the page looks and behaves: some of it is of this device, some of the account.
import { signal } from "@preact/signals";

import { chosenLanguage, speak } from "../i18n/index.js";
import * as http from "../net/http.js";

const kept = (key, otherwise) => localStorage.getItem(key) ?? otherwise;

/** Of this device: "system", "light" or "dark". */
export const theme = signal(kept("theme", "system"));
/** Of this device: whether Enter sends, and whether others see that one types. */
export const enterSends = signal(kept("enter_sends", "yes") === "yes");
export const showTyping = signal(kept("show_typing", "yes") === "yes");

export function setTheme(value) {
  theme.value = value;
  localStorage.setItem("theme", value);
  if (value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
}

export function setEnterSends(value) {
  enterSends.value = value;
  localStorage.setItem("enter_sends", value ? "yes" : "no");
}

export function setShowTyping(value) {
  showTyping.value = value;
  localStorage.setItem("show_typing", value ? "yes" : "no");
}

/**
 * Of the account; undefined until the server has said.
 * @type {import("@preact/signals").Signal<{language: string | null, show_presence: boolean, show_read: boolean, push_text: string} | undefined>}
 */
export const account = signal(undefined);

export async function loadSettings() {
  account.value = await http.get("/accounts/api/settings/");
  if (account.value.language && !chosenLanguage()) await speak(account.value.language);
}

export async function changeSettings(changes) {
  const before = account.peek();
  account.value = { ...before, ...changes }; // a switch moves at once
  try {
    account.value = await http.patch("/accounts/api/settings/", changes);
  } catch (error) {
    account.value = before;
    throw error;
  }
}
