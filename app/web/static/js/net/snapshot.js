// The list of chats as the server has it.
import { takeEarly } from "./early.js";
import { request } from "./http.js";

/**
 * All chats of this person, and the number of the event that the list is a snapshot of.
 * @returns {Promise<{chats: any[], cursor: number}>}
 */
export async function askForChats() {
  const response = (await takeEarly("chats")) ?? (await request("GET", "/messenger/api/chats/"));
  return { chats: await response.json(), cursor: Number(response.headers.get("X-Event-ID")) };
}
