// Other people: who there is, friends, who is blocked.
import { signal } from "@preact/signals";

import * as http from "../net/http.js";
import { dispatch, people, world } from "./world.js";

/** @typedef {{id: number, username: string, image: string | null}} Person */

const IDS_MAX = 100;

/** Names of people whom this person has blocked. */
export const blocked = signal(/** @type {Set<string>} */ (new Set()));
/** Ids of friends. */
export const friends = signal(/** @type {Set<number>} */ (new Set()));

/** People whose names fit, best first; all of them without a question. */
export async function findPeople(q = "", limit = 200, signal_) {
  const query = new URLSearchParams({ limit: String(limit), ...(q ? { q } : {}) });
  const found = await http.get(`/profiles/api/people/?${query}`, { signal: signal_ });
  dispatch({ type: "people", people: found });
  return /** @type {Person[]} */ (found);
}

/** Learns names and pictures of those among some ids who are not known yet. */
export async function knowPeople(/** @type {number[]} */ ids) {
  const known = new Set(Object.values(people.peek()).map((each) => each.id));
  const asked = ids.filter((id) => !known.has(id)).slice(0, IDS_MAX);
  if (!asked.length) return;
  dispatch({ type: "people", people: await http.get(`/profiles/api/people/?ids=${asked.join(",")}`) });
}

export async function loadRelations() {
  const [profile, blocks] = await Promise.all([
    http.get("/profiles/api/profile/"),
    http.get("/profiles/api/blocks/"),
  ]);
  const { id, username, profile: { image, friends: ids } } = profile;
  dispatch({ type: "people", people: [{ id, username, image }] });
  friends.value = new Set(ids);
  blocked.value = new Set(blocks.map((each) => each.username));
}

export async function setFriend(/** @type {Person} */ { id, username }, /** @type {boolean} */ isFriend) {
  await http.post(`/profiles/api/${isFriend ? "add" : "remove"}-friend/`, { username });
  friends.value = new Set(isFriend ? [...friends.peek(), id] : [...friends.peek()].filter((each) => each !== id));
}

export async function setBlocked(/** @type {string} */ username, /** @type {boolean} */ isBlocked) {
  const path = "/profiles/api/blocks/";
  await (isBlocked ? http.post(path, { username }) : http.remove(`${path}${encodeURIComponent(username)}/`));
  const others = [...blocked.peek()].filter((each) => each !== username);
  blocked.value = new Set(isBlocked ? [...others, username] : others);
}

export const profileOf = (/** @type {string} */ username) =>
  http.get(`/profiles/api/search-user/?username=${encodeURIComponent(username)}`);

const DEFAULT = /\/default\.jpg$/; // the picture of those who have none; letters say more

/** The address of somebody's picture, or undefined. */
export function pictureOf(/** @type {string} */ username) {
  const { image } = people.value[username] ?? {};
  return image && !DEFAULT.test(image) ? image : undefined;
}

export const pictureAt = (/** @type {string | null | undefined} */ image) =>
  image && !DEFAULT.test(image) ? image : undefined;

export const isMe = (/** @type {string} */ username) => username === world.value.me;
