// The history of rooms, a window at a time, and what can be done with a message.
import { signal } from "@preact/signals";

import * as http from "../net/http.js";
import { sendFrame } from "../net/stream.js";
import { dispatch, windowOf, world } from "./world.js";

const PAGE = 60;

/** @typedef {import("./apply.js").Chat} Chat */

const room = (chat) => `/messenger/api/chatrooms/${encodeURIComponent(chat.name)}/`;
const one = (chat, id) => `${room(chat)}messages/${id}/`;

async function ask(chat, where, query) {
  dispatch({ type: "asked", room: chat.id });
  try {
    const answer = await http.request("GET", `${room(chat)}messages/?limit=${PAGE}&deleted=true${query}`);
    const messages = await answer.json();
    const link = answer.headers.get("Link") ?? "";
    const [older, newer] = ["prev", "next"].map((rel) => link.includes(`rel="${rel}"`));
    dispatch({ type: "history", room: chat.id, messages, where, older, newer: where === "newest" ? false : newer });
  } catch (error) {
    dispatch({ type: "unasked", room: chat.id });
    throw error;
  }
}

const busy = new Map();

// One question at a time for a room.
function once(chat, action) {
  if (!busy.has(chat.id)) busy.set(chat.id, action().finally(() => busy.delete(chat.id)));
  return busy.get(chat.id);
}

/** Shows the end of a room's history. */
export const loadNewest = (/** @type {Chat} */ chat) => once(chat, () => ask(chat, "newest", ""));

/** Shows a message with what stands around it. @throws {http.Problem} It is not there. */
export const loadAround = (/** @type {Chat} */ chat, /** @type {number} */ id) =>
  once(chat, () => ask(chat, "around", `&around=${id}`));

/** Shows what follows a message, as when there is much that is unread. */
export const loadFrom = (/** @type {Chat} */ chat, /** @type {number} */ id) =>
  once(chat, () => ask(chat, "around", `&after=${id}`));

export function loadOlder(/** @type {Chat} */ chat) {
  const first = windowOf(chat.id)?.list[0];
  return first ? once(chat, () => ask(chat, "older", `&before=${first.id}`)) : undefined;
}

export function loadNewer(/** @type {Chat} */ chat) {
  const last = windowOf(chat.id)?.list.at(-1);
  return last ? once(chat, () => ask(chat, "newer", `&after=${last.id}`)) : undefined;
}

export const trim = (/** @type {Chat} */ chat, /** @type {"newest" | "oldest"} */ keep) =>
  dispatch({ type: "trim", room: chat.id, keep });

export async function edit(/** @type {Chat} */ chat, /** @type {number} */ id, /** @type {string} */ content) {
  const message = await http.patch(one(chat, id), { content });
  dispatch({ type: "message_edited", room: chat.name, message });
}

export async function remove(/** @type {Chat} */ chat, /** @type {number} */ id) {
  await http.remove(one(chat, id));
  dispatch({ type: "message_deleted", room: chat.name, message: { id, deleted_at: new Date().toISOString() } });
}

/** Tells the server, and with it all devices, how far this person has read. */
export function markRead(/** @type {Chat} */ chat, /** @type {number} */ read_id) {
  if (sendFrame({ type: "read", room: chat.name, read_id })) return;
  http.post(`${room(chat)}read/`, { read_id }).then((answer) => marked(chat, answer), () => {});
}

/** Makes a message and all that follow unread again. */
export async function markUnread(/** @type {Chat} */ chat, /** @type {number} */ from_id) {
  marked(chat, await http.post(`${room(chat)}unread/`, { from_id }));
}

const marked = (chat, answer) => dispatch({ type: "read", room: chat.name, user: world.peek().me, ...answer });

const quoted = new Map();

/**
 * The message that another one answers, once it is known.
 * @returns {import("@preact/signals").Signal<any>} Undefined while it is asked for, null if it is gone.
 */
export function quoteOf(/** @type {Chat} */ chat, /** @type {number} */ id) {
  const shown = windowOf(chat.id)?.list.find((each) => each.id === id);
  if (shown) return { value: shown };
  if (!quoted.has(id)) {
    const answer = signal(undefined);
    quoted.set(id, answer);
    http.get(one(chat, id)).then((message) => (answer.value = message), () => (answer.value = null));
  }
  return quoted.get(id);
}

/** The chat that stays unread although it is open, because somebody said so. */
export const keptUnread = signal(/** @type {number | undefined} */ (undefined));
export const keepUnread = (/** @type {number | undefined} */ id) => (keptUnread.value = id);
