// A file on its way to the server. Only XMLHttpRequest tells how far it is.
import { Unreachable, authorized, commonHeaders } from "./http.js";

/**
 * Sends a file and returns what the server says of it.
 * @param {Blob} blob
 * @param {string} name
 * @param {{signal: AbortSignal, onProgress: (bytes: number) => void}} options
 * @throws {import("./http.js").Problem | Unreachable | DOMException}
 */
export async function upload(blob, name, { signal, onProgress }) {
  const form = new FormData();
  form.set("file", blob, name);
  const answer = await authorized((authorization) => post(form, { ...commonHeaders(), Authorization: authorization }, signal, onProgress));
  return answer.json();
}

const post = (form, headers, signal, onProgress) => new Promise((resolve, reject) => {
  signal.throwIfAborted();
  const request = new XMLHttpRequest();
  request.open("POST", "/messenger/api/uploads/");
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = (event) => onProgress(Math.min(event.loaded, form.get("file").size));
  request.onload = () => resolve(new Response(request.response, { status: request.status }));
  request.onerror = () => reject(new Unreachable("upload"));
  request.onabort = () => reject(new DOMException("", "AbortError"));
  signal.addEventListener("abort", () => request.abort());
  request.send(form);
});
