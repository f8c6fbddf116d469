// What stands in a chat's history, from a list of messages. Pure.
import { isSameDay } from "../text/time.js";

const RUN_MS = 10 * 60 * 1000; // after which somebody's next message begins a new run

/**
 * The rows of a history: days, the divider of what is new, and messages, where `first` and
 * `last` say how each stands in the run of one person.
 * @param {any[]} messages Oldest first.
 * @param {{me: string, newAfter?: number}} options `newAfter`: the id behind which the divider stands.
 */
export function rowsOf(messages, { me, newAfter }) {
  const rows = [];
  let before;
  for (const message of messages) {
    const isNewDay = !before || !isSameDay(before.timestamp, message.timestamp);
    if (isNewDay) rows.push({ kind: "day", key: `day-${message.timestamp.slice(0, 10)}-${message.id}`, date: message.timestamp });
    const isNew = newAfter !== undefined && message.id > newAfter && message.user !== me;
    if (isNew) rows.push({ kind: "new", key: "new" });
    if (isNew) newAfter = undefined;
    const first = isNewDay || isNew || !isOneRun(before, message);
    const previous = rows.findLast((row) => row.kind === "message");
    if (first && previous) previous.last = true;
    rows.push({ kind: "message", key: message.client_id ?? message.letter?.client_id ?? message.id, message, first, last: false });
    before = message;
  }
  const end = rows.at(-1);
  if (end) end.last = true;
  return rows;
}

const isOneRun = (one, other) =>
  one.user === other.user && Date.parse(other.timestamp) - Date.parse(one.timestamp) < RUN_MS;
