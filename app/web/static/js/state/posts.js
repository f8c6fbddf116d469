// Posts: what everybody may read.
import { signal } from "@preact/signals";

import * as http from "../net/http.js";

/** Newest first; undefined until they are there. @type {import("@preact/signals").Signal<any[] | undefined>} */
export const posts = signal(undefined);
export const hasOlder = signal(false);

const PAGE = 30;

async function ask(query) {
  const answer = await http.request("GET", `/profiles/api/posts/?limit=${PAGE}${query}`);
  hasOlder.value = (answer.headers.get("Link") ?? "").includes('rel="prev"');
  return (await answer.json()).reverse();
}

export const loadPosts = async () => (posts.value = await ask(""));

export async function loadOlderPosts() {
  const last = posts.peek().at(-1);
  posts.value = [...posts.peek(), ...(await ask(`&before=${last.id}`))];
}

export async function writePost(values, client_id) {
  const post = await http.post("/profiles/api/posts/", { ...values, client_id });
  posts.value = [post, ...(posts.peek() ?? [])];
}

export async function changePost(/** @type {number} */ id, values) {
  const post = await http.patch(`/profiles/api/posts/${id}/`, values);
  posts.value = posts.peek()?.map((each) => (each.id === id ? post : each));
}

export async function removePost(/** @type {number} */ id) {
  await http.remove(`/profiles/api/posts/${id}/`);
  posts.value = posts.peek()?.filter((each) => each.id !== id);
}
