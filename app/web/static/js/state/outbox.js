// What waits to be sent. It is kept before it is shown, and keeps one client_id until the
// server has it, so nothing is lost and nothing is doubled, whatever happens in between.
import { signal } from "@preact/signals";

import * as http from "../net/http.js";
import * as store from "../net/store.js";
import { addressOf, cancel, release, send as sendFile } from "./files.js";
import { dispatch, world } from "./world.js";

/**
 * @typedef {{client_id: string, room: string, content: string, reply_to?: number, created_at: string,
 *   files?: import("./files.js").LocalFile[], state: "waiting" | "refused", reason?: string, canRetry?: boolean}} Letter
 */

/** All of it, oldest first. */
export const outbox = signal(/** @type {Letter[]} */ ([]));

const AGAIN_MS = 3000;
const channel = "BroadcastChannel" in window ? new BroadcastChannel("outbox") : undefined;
channel?.addEventListener("message", () => loadOutbox());

export async function loadOutbox() {
  const letters = await store.all("outbox").catch(() => []);
  outbox.value = letters.sort((a, b) => (a.created_at + a.client_id < b.created_at + b.client_id ? -1 : 1));
}

/** Keeps a message, shows it as waiting, and sends it as soon as that can be done. */
export async function write(/** @type {string} */ room, /** @type {string} */ content, reply_to, files = []) {
  const letter = { client_id: randomId(), room, content, reply_to, files, created_at: now(), state: "waiting" };
  await store.put("outbox", letter.client_id, letter);
  outbox.value = [...outbox.value, letter];
  channel?.postMessage("changed");
  send();
}

/** Takes back a message that was not sent. */
export async function takeBack(/** @type {Letter} */ letter) {
  outbox.value = outbox.value.filter((each) => each.client_id !== letter.client_id);
  letter.files?.forEach(({ key }) => cancel(key));
  release(letter.files);
  await store.drop("outbox", letter.client_id);
  channel?.postMessage("changed");
}

/** Tries a refused message once more; its place is then at the end of the chat. */
export async function retry(/** @type {Letter} */ letter) {
  await change(letter, { state: "waiting", reason: undefined });
  send();
}

/** Takes one file out of a message that was not sent. */
export async function dropFile(/** @type {Letter} */ letter, /** @type {string} */ key) {
  const files = find(letter.client_id)?.files.filter((file) => file.key !== key) ?? [];
  if (!files.length && !letter.content) return takeBack(letter);
  await change(letter, { files });
  cancel(key);
}

/** Whether this device has not learned yet that the server has this message. */
export const isWaiting = (/** @type {{client_id?: string}} */ message) => Boolean(find(message.client_id));

/** The server has this message, as the stream or an answer says. */
export function settled(/** @type {{client_id?: string}} */ message) {
  const letter = find(message.client_id);
  if (letter) takeBack(letter);
}

export const resend = () => send();

let sending;
let againTimer;

/** Sends what waits, one after the other. */
function send() {
  sending ??= locked(sendAll).finally(() => (sending = undefined));
  return sending;
}

// Of several tabs one sends; without locks (a page without https) the client_id alone has to do.
const locked = (action) => (navigator.locks ? navigator.locks.request("outbox", action) : action());

async function sendAll() {
  clearTimeout(againTimer);
  if (navigator.locks) await loadOutbox(); // another tab may have sent some of it
  for (let letter; (letter = outbox.peek().find((each) => each.state === "waiting")); ) {
    if (!(await sendOne(letter))) {
      againTimer = setTimeout(send, AGAIN_MS);
      return;
    }
  }
}

/** Returns whether it is worth to go on with the next. */
async function sendOne(letter) {
  const { client_id, room, content, reply_to } = letter;
  try {
    const files = await sendFiles(letter);
    if (!files) return true; // it was changed meanwhile
    const path = `/messenger/api/chatrooms/${encodeURIComponent(room)}/messages/`;
    const message = await http.post(path, {
      content, client_id, ...(reply_to ? { reply_to } : {}), ...(files.length ? { attachments: files.map(({ id }) => id) } : {}),
    });
    await store.drop("outbox", client_id);
    dispatch({ type: "message", room, message: { client_id, ...message } });
    settled({ client_id });
    return true;
  } catch (error) {
    if (error.name === "AbortError") return true; // a file was taken out
    if (http.isPassing(error) || error.status === 401) return false;
    if (!(error instanceof http.Problem)) throw error;
    if (error.code === "message_deleted") settled({ client_id });
    else if (error.errors.attachments && !letter.isAgain) await change(letter, { isAgain: true, files: letter.files.map(({ id, ...file }) => file) });
    else await change(letter, { state: "refused", reason: error.message, canRetry: error.status === 429 });
    return true;
  }
}

// Sends the files that the server has not got; each is remembered, so that none is sent twice. Returns them, or
// undefined if the message was taken back.
async function sendFiles({ client_id }) {
  for (let file; (file = find(client_id)?.files?.find(({ id }) => !id)); ) {
    const id = await sendFile(file);
    const files = find(client_id)?.files.map((each) => (each.key === file.key ? { ...each, id } : each));
    await change({ client_id }, { files });
  }
  const letter = find(client_id);
  return letter && (letter.files ?? []);
}

const find = (client_id) => outbox.peek().find((each) => each.client_id === client_id);

async function change({ client_id }, changes) {
  const letter = find(client_id);
  if (!letter) return; // taken back
  const next = { ...letter, ...changes };
  outbox.value = outbox.value.map((each) => (each === letter ? next : each));
  await store.put("outbox", client_id, next);
  channel?.postMessage("changed");
}

/** A letter as the list and the chat show it. */
export const asMessage = (/** @type {Letter} */ letter) => ({
  id: letter.client_id,
  user: world.peek().me,
  content: letter.content,
  timestamp: letter.created_at,
  reply_to: letter.reply_to,
  attachments: letter.files?.map((file) => ({ ...file, id: undefined, url: addressOf(file) })),
  letter,
});

const now = () => new Date().toISOString();

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
