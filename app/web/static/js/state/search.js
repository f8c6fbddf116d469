// The search in messages: what is looked for is in the address, so that back leads back to it.
import { computed, signal } from "@preact/signals";

import * as http from "../net/http.js";
import { go, route } from "./route.js";

export const SEARCH_CHARS_MIN = 2;
const PAGE = 30;
const DAY_MS = 24 * 3600 * 1000;

/**
 * What is looked for, or undefined. `find` are words, `in` is the name of a room, `from` of a user, `days` how old
 * messages may be.
 * @typedef {{find: string, in?: string, from?: string, days?: string}} Search
 * @type {import("@preact/signals").ReadonlySignal<Search | undefined>}
 */
export const search = computed(() => {
  const query = new URLSearchParams(route.value.search);
  return query.has("find") ? /** @type {any} */ (Object.fromEntries(query)) : undefined;
});

const queryOf = (/** @type {Partial<Search>} */ wanted) =>
  `?${new URLSearchParams(Object.entries({ find: "", ...wanted }).filter(([key, value]) => value || key === "find"))}`;

/** Looks for something, beside what is shown. */
export function openSearch(/** @type {Partial<Search>} */ wanted = {}) {
  const { parts } = route.peek();
  go((parts[0] === "chat" ? location.pathname : "/chat") + queryOf(wanted));
}

/** Changes what is looked for, without a step that back would lead to. */
export const changeSearch = (/** @type {Partial<Search>} */ changes) =>
  go(location.pathname + queryOf({ ...search.peek(), ...changes }), { replace: true });

export const closeSearch = () => go(location.pathname === "/chat" ? "/" : location.pathname);

/** Where a hit is shown, with the search still beside it. */
export const hitPath = (hit) => `/chat/${encodeURIComponent(hit.room)}/${hit.id}${location.search}`;

/** The address of the search alone, if something is looked for: where back leads on a phone. */
export const searchAt = () => search.peek() && `/chat${location.search}`;

/**
 * What was found, newest first; `as` is what was looked for in its place.
 * @typedef {{hits: any[], hasOlder: boolean, as?: string}} Found
 */
export const found = signal(/** @type {Found | undefined} */ (undefined));

async function ask(/** @type {Search} */ wanted, before, abort) {
  const { find, in: room, from, days } = wanted;
  const since = days && new Date(Date.now() - Number(days) * DAY_MS).toISOString();
  const all = { q: find.trim(), limit: String(PAGE), room, user: from, from: since, before };
  const query = new URLSearchParams(Object.entries(all).filter(([, value]) => value));
  const answer = await http.request("GET", `/messenger/api/search/?${query}`, { signal: abort });
  const as = answer.headers.get("X-Search-As");
  return {
    hits: (await answer.json()).reverse(),
    hasOlder: (answer.headers.get("Link") ?? "").includes('rel="prev"'),
    as: as ? decodeURIComponent(as) : undefined,
  };
}

/** Looks for something; `found` is then what was found. @throws {http.Problem} It cannot be looked for. */
export async function look(/** @type {Search} */ wanted, /** @type {AbortSignal} */ abort) {
  if (wanted.find.trim().length < SEARCH_CHARS_MIN) return (found.value = undefined);
  const answer = await ask(wanted, undefined, abort);
  if (!abort.aborted) found.value = answer;
}

export async function lookForOlder() {
  const before = found.peek();
  const answer = await ask(search.peek(), String(before.hits.at(-1).id));
  if (found.peek() === before) found.value = { ...answer, hits: [...before.hits, ...answer.hits] };
}
