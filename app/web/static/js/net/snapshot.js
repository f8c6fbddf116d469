// The list of chats as the server has it, asked for as early as can be.
import { request } from "./http.js";

const ask = () => request("GET", "/messenger/api/chats/");
let early;

/** Asks for the list before anybody wants it. */
export function askEarly() {
  early = ask();
  early.catch(() => {}); // whoever wants it asks again
}

/**
 * All chats of this person, and the number of the event that the list is a snapshot of.
 * @returns {Promise<{chats: any[], cursor: number}>}
 */
export async function askForChats() {
  const asked = early;
  early = undefined;
  const response = await (asked?.catch(ask) ?? ask());
  return { chats: await response.json(), cursor: Number(response.headers.get("X-Event-ID")) };
}
