// Who is logged in on this device.
import { signal } from "@preact/signals";

import * as http from "../net/http.js";
import * as store from "../net/store.js";
import { forgetPush } from "./push.js";

/**
 * "unknown" until the server or this device has said; "in" also without a network, when this
 * device knows who was logged in last.
 */
export const status = signal(/** @type {"unknown" | "in" | "out"} */ ("unknown"));
/** @type {import("@preact/signals").Signal<{id: number, username: string, email: string, is_admin?: boolean} | undefined>} */
export const me = signal(undefined);

/** What the server says of itself: who may register, whether it sends mail, how long one may edit, how large a file may be. */
export const service = signal({ registration: "open", password_reset_by_mail: false, edit_seconds: 86_400, upload_bytes: 0 });

const KNOWN = "me"; // in localStorage: who is logged in; no secret
const LAST = "last"; // in localStorage: the id of whose things IndexedDB keeps

/** Finds out whether somebody is logged in. */
export function resume() {
  http.whenLoggedOut(end);
  const known = JSON.parse(localStorage.getItem(KNOWN) ?? "null");
  if (known) me.value = known;
  status.value = known ? "in" : "out";
  addEventListener("storage", followOthers);
  if (!known) askService().catch(() => {}); // what is usual stands until the server says otherwise
}

// Another tab of this browser logged out, or somebody else in: this one begins anew with what is true now.
function followOthers({ key, newValue }) {
  if (key === KNOWN && JSON.parse(newValue)?.id !== me.peek()?.id) location.reload();
}

/** Logs in. @throws {http.Problem | http.Unreachable} */
export async function logIn(/** @type {string} */ username, /** @type {string} */ password) {
  const body = { username, password, cookie: true };
  const { access } = await http.post("/accounts/api/token/", body, { anonymous: true });
  http.setToken(access);
  await identify();
  status.value = "in";
}

/** Asks the server anew who this is. */
export async function identify() {
  const user = await http.get("/accounts/api/users/me/");
  if (localStorage.getItem(LAST) !== String(user.id)) await store.clear(); // of somebody else
  localStorage.setItem(LAST, String(user.id));
  localStorage.setItem(KNOWN, JSON.stringify(user));
  me.value = user;
}

export async function logOut() {
  await http.post("/accounts/api/token/blacklist/", {}, { anonymous: true }).catch((error) => {
    if (!(error instanceof http.Problem)) throw error; // without a network the cookie would stay
  });
  await forget();
}

/** Forgets everything of whoever was logged in: nothing of it stays on this device. */
export async function forget() {
  status.value = "out"; // first, so that nothing is kept any more
  await forgetPush().catch(() => {}); // the server forgets it with the session
  await store.clear();
  history.replaceState(null, "", "/");
  end();
}

// The session is over. What waits to be sent stays for whoever logs in again; a new page has
// nothing else of it in memory.
function end() {
  localStorage.removeItem(KNOWN);
  location.reload();
}

export async function askService() {
  const response = await fetch("/", { headers: { Accept: "application/json" } });
  if (response.ok) service.value = await response.json();
}
