// Files before the server has them: those beside a text that is being written, and those on their way.
import { signal } from "@preact/signals";

import { upload } from "../net/upload.js";
import { service } from "./session.js";

export const FILES_MAX = 10; // of one message

/**
 * A file of this device; `id` is the server's, once it has the file. `width` and `height` are those of a picture.
 * @typedef {{key: string, name: string, type: string, size: number, blob: Blob, id?: string, width?: number, height?: number}} LocalFile
 */

/** What is to be sent with the next message of a room. @type {import("@preact/signals").Signal<Record<string, LocalFile[]>>} */
export const trays = signal({});

export const trayOf = (/** @type {string} */ room) => trays.value[room] ?? [];
/** Whether the server takes files, as far as is known. */
export const mayAttach = () => service.value.upload_bytes > 0;
export const isTooLarge = (/** @type {LocalFile} */ file) => file.size > service.value.upload_bytes;

/** Puts files beside what is being written; returns how many had no room. */
export function addFiles(/** @type {string} */ room, /** @type {File[]} */ files) {
  const before = trays.peek()[room] ?? [];
  const added = files.slice(0, Math.max(0, FILES_MAX - before.length)).map((blob) => ({
    key: crypto.getRandomValues(new Uint32Array(2)).join("-"), name: blob.name || "image.png", type: blob.type, size: blob.size, blob,
  }));
  trays.value = { ...trays.peek(), [room]: [...before, ...added] };
  return files.length - added.length;
}

export function removeFile(/** @type {string} */ room, /** @type {string} */ key) {
  trays.value = { ...trays.peek(), [room]: trays.peek()[room].filter((file) => file.key !== key) };
}

/** Takes what can be sent out of a tray; what is too large stays. */
export function takeFiles(/** @type {string} */ room) {
  const files = trays.peek()[room] ?? [];
  trays.value = { ...trays.peek(), [room]: files.filter(isTooLarge) };
  return files.filter((file) => !isTooLarge(file));
}

/** Puts files back into a tray, before what was chosen meanwhile. */
export function putBack(/** @type {string} */ room, /** @type {LocalFile[]} */ files) {
  trays.value = { ...trays.peek(), [room]: [...files, ...(trays.peek()[room] ?? [])] };
}

/** How many bytes of a file are there, by its key, while it is sent. */
export const progress = signal(/** @type {Record<string, number>} */ ({}));
const running = new Map();

/** Sends a file and returns its id. */
export async function send(/** @type {LocalFile} */ { key, blob, name }) {
  const abort = new AbortController();
  running.set(key, abort);
  const onProgress = (bytes) => (progress.value = { ...progress.peek(), [key]: bytes });
  try {
    return (await upload(blob, name, { signal: abort.signal, onProgress })).id;
  } finally {
    running.delete(key);
    const { [key]: _, ...others } = progress.peek();
    progress.value = others;
  }
}

/** Stops sending a file. */
export const cancel = (/** @type {string} */ key) => running.get(key)?.abort();

const addresses = new Map();

/** An address of a file of this device, for `<img>`. */
export function addressOf(/** @type {LocalFile} */ { key, blob }) {
  if (!addresses.has(key)) addresses.set(key, URL.createObjectURL(blob));
  return addresses.get(key);
}

/** Lets go of the memory of files. */
export function release(/** @type {LocalFile[]} */ files = []) {
  for (const { key } of files) {
    if (addresses.has(key)) URL.revokeObjectURL(addresses.get(key));
    addresses.delete(key);
  }
}
