// The one state that views read, and the only way to change it.
import { batch, computed, signal } from "@preact/signals";

import { apply, empty } from "./apply.js";

/** @typedef {import("./apply.js").State} State */

export const world = signal(/** @type {State} */ (empty()));

let queue = [];
let isDue = false;

/** Applies an event at once, after those that wait. */
export function dispatch(event) {
  queue.push(event);
  flush();
}

/** Applies an event with the next frame, together with all others until then. */
export function enqueue(event) {
  queue.push(event);
  if (isDue) return;
  isDue = true;
  if (document.visibilityState === "visible") requestAnimationFrame(flush);
  else setTimeout(flush, 50);
}

function flush() {
  isDue = false;
  if (!queue.length) return;
  const events = queue;
  queue = [];
  batch(() => (world.value = events.reduce(apply, world.peek())));
}

export function begin(/** @type {State} */ state) {
  queue = [];
  world.value = state;
}

const part = (read) => computed(() => read(world.value));

export const chatsById = part((state) => state.chats);
export const typing = part((state) => state.typing);
export const online = part((state) => state.online);
export const people = part((state) => state.people);
const windows = part((state) => state.windows);

/** All chats, the one with the newest message first. */
export const chats = computed(() => Object.values(chatsById.value).sort((a, b) => b.event_id - a.event_id));

/** How many chats have something new that is not muted. */
export const unreadChats = computed(() => chats.value.filter((chat) => chat.unread && !chat.muted).length);

export const windowOf = (/** @type {number} */ id) => windows.value[id];
export const chatNamed = (/** @type {string} */ name) => chatsById.value[world.value.ids[name]];
