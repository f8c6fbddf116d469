// Opening, changing and leaving chats.
import * as http from "../net/http.js";
import { dispatch, world } from "./world.js";
import { reloadChat } from "./sync.js";

/** @typedef {import("./apply.js").Chat} Chat */

const path = (name) => `/messenger/api/chatrooms/${encodeURIComponent(name)}/`;

/** Opens the chat with somebody and returns its name. */
export async function openPair(/** @type {string} */ recipient) {
  const { name } = await http.post("/messenger/api/chatrooms/", { recipient });
  if (!(name in world.peek().ids)) await reloadChat(name);
  return name;
}

/** Makes a group and returns its name. */
export async function openGroup(/** @type {string} */ title, /** @type {string[]} */ members, client_id) {
  const chat = await http.post("/messenger/api/groups/", { title, members, client_id });
  dispatch({ type: "room", room: chat.name, chat });
  return chat.name;
}

/** Changes what a chat is called, shows to newcomers, or whether it is muted. */
export async function change(/** @type {Chat} */ { name }, /** @type {Partial<Chat> & {title?: string}} */ changes) {
  const chat = await http.patch(path(name), changes);
  dispatch({ type: "room", room: name, chat });
}

export async function setPicture(/** @type {Chat} */ { name }, /** @type {File | null} */ image) {
  if (image === null) return change({ name }, { image: null });
  const form = new FormData();
  form.set("image", image);
  const answer = await http.request("PATCH", path(name), { form });
  dispatch({ type: "room", room: name, chat: await answer.json() });
}

export const members = (/** @type {Chat} */ { name }) => http.get(`${path(name)}members/`);
export const addMember = ({ name }, username) => http.post(`${path(name)}members/`, { username });
export const setRole = ({ name }, username, role) =>
  http.patch(`${path(name)}members/${encodeURIComponent(username)}/`, { role });
export const removeMember = ({ name }, username) =>
  http.remove(`${path(name)}members/${encodeURIComponent(username)}/`);

export async function leave(/** @type {Chat} */ chat) {
  await removeMember(chat, world.peek().me);
  dispatch({ type: "room_left", room: chat.name });
}

/** The other person of a chat of two. */
export const isPair = (/** @type {Chat} */ chat) => chat.kind === "pair";
