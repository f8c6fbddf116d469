// What was begun to be written, one draft a room. It outlives the page.
import { signal } from "@preact/signals";

import * as store from "../net/store.js";

/** By the name of the room: `{room, text, reply_to}`. */
export const drafts = signal(/** @type {Record<string, {room: string, text: string, reply_to?: number}>} */ ({}));

const KEEP_MS = 300;
const timers = {};

export async function loadDrafts() {
  const kept = await store.all("drafts").catch(() => []);
  drafts.value = Object.fromEntries(kept.map((draft) => [draft.room, draft]));
}

/** Remembers a draft; an empty one is forgotten. */
export function setDraft(/** @type {string} */ room, /** @type {string} */ text, reply_to) {
  const { [room]: _, ...others } = drafts.peek();
  const isEmpty = !text.trim() && !reply_to;
  const draft = { room, text, reply_to };
  drafts.value = isEmpty ? others : { ...others, [room]: draft };
  clearTimeout(timers[room]);
  const keep = () => (isEmpty ? store.drop("drafts", room) : store.put("drafts", room, draft));
  timers[room] = setTimeout(() => keep().catch(() => {}), isEmpty ? 0 : KEEP_MS);
}
