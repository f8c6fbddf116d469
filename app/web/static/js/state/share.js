// What another program of this device shares with the installed page: it becomes a draft of the chat that is chosen.
import { computed } from "@preact/signals";

import { go, route } from "./route.js";

/** The text that was shared, while a chat for it is being chosen. */
export const shared = computed(() => {
  const query = new URLSearchParams(route.value.search);
  const texts = ["title", "text", "url"].map((name) => query.get(name)?.trim()).filter(Boolean);
  return [...new Set(texts)].join("\n") || undefined;
});

/** The shared text, for whoever writes it down: it is then not in the address any more. */
export function takeShared() {
  const text = shared.peek();
  if (text) go(location.pathname, { replace: true });
  return text;
}
