// Where in the page somebody is: the address, read and changed.
import { signal } from "@preact/signals";

/** @typedef {{parts: string[], hash: string, search: string}} Route */

const read = () => ({
  parts: location.pathname.split("/").filter(Boolean).map(decoded),
  hash: location.hash.slice(1),
  search: location.search,
});

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The path in pieces: `/chat/ann_bob/17` is `["chat", "ann_bob", "17"]`. */
export const route = signal(/** @type {Route} */ (read()));

addEventListener("popstate", () => (route.value = read()));
addEventListener("hashchange", () => (route.value = read()));

/** Goes to an address of the page. */
export function go(/** @type {string} */ path, { replace = false } = {}) {
  if (path === location.pathname + location.search + location.hash) return;
  if (replace) history.replaceState(history.state, "", path);
  else history.pushState({ isInside: true }, "", path);
  route.value = read();
}

/** Goes back to where somebody came from; to a path, if they came from elsewhere. */
export function back(/** @type {string} */ path) {
  if (history.state?.isInside) history.back();
  else go(path, { replace: true });
}

export const chatPath = (/** @type {string} */ name, id = "") =>
  `/chat/${encodeURIComponent(name)}${id ? `/${id}` : ""}`;

/** Lets links of the page change the page instead of loading it anew. */
export function follow(/** @type {MouseEvent} */ event) {
  const link = event.target.closest?.("a[href^='/']");
  const isPlain = !event.defaultPrevented && event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey);
  if (!link || !isPlain || link.target || link.hasAttribute("download")) return;
  event.preventDefault();
  go(link.getAttribute("href"));
}
