// The whole state of somebody's chats, and how an event changes it. Pure: nothing here asks,
// waits or reads a clock, so that each rule can be tried alone.

/**
 * @typedef {{id: number, user: string, content: string, timestamp: string, client_id?: string,
 *   edited_at?: string, deleted_at?: string, reply_to?: number, attachments?: any[]}} Message
 * @typedef {{id: number, name: string, display_name: string, kind: "pair" | "group", image: string | null,
 *   members?: number[], members_count: number, role?: string, history?: string, joined_id: number,
 *   muted: boolean, read_id: number, unread: number, event_id: number, last_message: Message | null,
 *   peer_read_id?: number, reads?: Record<string, number>}} Chat
 * A window is a piece of a room's history, oldest first. `older`, `newer`: whether there is more.
 * `pending` are the events that came while it was asked for; `stale` is one that may have gaps.
 * @typedef {{list: Message[], older: boolean, newer: boolean, stale?: boolean, pending?: any[]}} Window
 * `isListed`: whether `chats` is what the server said, and not what this device kept or nothing.
 * @typedef {{me: string, epoch?: string, cursor: number, isListed: boolean, chats: Record<number, Chat>, ids: Record<string, number>,
 *   windows: Record<number, Window>, typing: Record<number, Record<string, number>>, online: Record<string, boolean>,
 *   people: Record<string, {id: number, username: string, image: string | null}>}} State
 */

export const WINDOW_MAX = 230; // messages that a window keeps; a page of 60 more, and days, make 300 rows on the screen

/** @returns {State} */
export const empty = (me = "") => ({
  me, epoch: undefined, cursor: 0, isListed: false, chats: {}, ids: {}, windows: {}, typing: {}, online: {}, people: {},
});

/**
 * The state after an event: a frame of the stream, or one of the page's own (named below).
 * A numbered event that the state has already seen changes nothing.
 * @returns {State}
 */
export function apply(/** @type {State} */ state, /** @type {any} */ event) {
  if (event.id <= state.cursor && event.type !== "hello") return state;
  const next = HANDLERS[event.type]?.(state, event) ?? state;
  return event.id > next.cursor ? { ...next, cursor: event.id } : next;
}

const HANDLERS = {
  // Frames of the stream.
  hello: (state, { epoch }) => ({ ...state, epoch }),
  message: (state, event) => onRoom(state, event, (chat) => heard(state, chat, event)),
  message_edited: (state, event) => onRoom(state, event, (chat) => edited(state, chat, event)),
  message_deleted: (state, event) => onRoom(state, event, (chat) => deleted(state, chat, event)),
  read: (state, event) => onRoom(state, event, (chat) => withChat(state, marked(state, chat, event))),
  room: (state, { room, chat }) => roomSet(state, room, chat),
  room_left: (state, event) => onRoom(state, event, (chat) => roomDropped(state, chat)),
  user: (state, event) => userChanged(state, event),
  typing: (state, event) => onRoom(state, event, (chat) => typed(state, chat.id, event.user, event.until)),
  presence: (state, { user, online }) => ({ ...state, online: { ...state.online, [user]: online } }),
  // The page's own: the list of chats, pages of history, and what only this device knows.
  snapshot: (state, { chats, cursor }) => snapshotSet(state, chats, cursor),
  kept: (state, { kept }) => keptSet(state, kept),
  asked: (state, { room }) => withWindow(state, room, { ...windowOf(state, room), pending: [] }),
  unasked: (state, { room }) => withWindow(state, room, { ...windowOf(state, room), pending: undefined }),
  history: (state, event) => historySet(state, event),
  trim: (state, { room, keep }) => withWindow(state, room, trimmed(windowOf(state, room), keep)),
  typing_over: (state, { room, user }) => typed(state, room, user, undefined),
  everybody_online: (state, { names }) => ({ ...state, online: Object.fromEntries(names.map((name) => [name, true])) }),
  people: (state, { people }) => ({
    ...state,
    people: { ...state.people, ...Object.fromEntries(people.map((each) => [each.username, each])) },
  }),
};

const windowOf = (state, id) => state.windows[id] ?? { list: [], older: true, newer: false };
const withChat = (state, chat) => ({ ...state, chats: { ...state.chats, [chat.id]: chat } });
const withWindow = (state, id, window) => ({ ...state, windows: { ...state.windows, [id]: window } });

function onRoom(state, event, change) {
  const chat = state.chats[state.ids[event.room]];
  if (!chat) return state; // left meanwhile, or not told of yet
  const next = change(chat);
  const window = next.windows[chat.id];
  const isAsked = window?.pending && event.type.startsWith("message");
  return isAsked ? withWindow(next, chat.id, { ...window, pending: [...window.pending, event] }) : next;
}

function heard(state, chat, { message }) {
  const isMine = message.user === state.me;
  const isNew = !message.deleted_at && message.id > (chat.event_id ?? 0);
  const counts = isNew && !isMine && message.id > chat.read_id;
  const last = chat.last_message;
  const next = withChat(state, {
    ...chat,
    event_id: Math.max(chat.event_id, message.id),
    last_message: !last || message.id >= last.id ? message : last,
    // Whoever writes has read what is above.
    read_id: isMine ? Math.max(chat.read_id, message.id) : chat.read_id,
    unread: isMine && isNew ? 0 : chat.unread + (counts ? 1 : 0),
  });
  const window = next.windows[chat.id];
  const shown = window && !window.newer ? withWindow(next, chat.id, added(window, [message])) : next;
  return typed(shown, chat.id, message.user, undefined);
}

function edited(state, chat, { message }) {
  const isLast = chat.last_message?.id === message.id;
  const next = isLast ? withChat(state, { ...chat, last_message: { ...chat.last_message, ...message } }) : state;
  return replaced(next, chat.id, message.id, (old) => ({ ...old, ...message }));
}

function deleted(state, chat, { message }) {
  const window = state.windows[chat.id];
  const old = window?.list.find((each) => each.id === message.id)
    ?? (chat.last_message?.id === message.id ? chat.last_message : undefined);
  const next = replaced(state, chat.id, message.id, gone(message.deleted_at));
  const counted = old && !old.deleted_at && old.user !== state.me && message.id > chat.read_id;
  const isLast = chat.last_message?.id === message.id;
  return withChat(next, {
    ...chat,
    event_id: Math.max(chat.event_id, message.id), // it may have come and gone while this page was away
    unread: Math.max(0, chat.unread - (counted ? 1 : 0)),
    last_message: isLast ? newest(next.windows[chat.id]) : chat.last_message,
  });
}

const gone = (at) => ({ id, user, timestamp }) => ({ id, user, timestamp, content: "", deleted_at: at });
const newest = (window) => window?.list.findLast((each) => !each.deleted_at) ?? null;

function replaced(state, id, messageId, change) {
  const window = state.windows[id];
  const at = window?.list.findIndex((each) => each.id === messageId) ?? -1;
  if (at < 0) return state;
  return withWindow(state, id, { ...window, list: window.list.with(at, change(window.list[at])) });
}

function marked(state, chat, { user, read_id, unread }) {
  if (user === state.me) return { ...chat, read_id, unread };
  const reads = { ...chat.reads, [user]: Math.max(read_id, chat.reads?.[user] ?? 0) };
  if (chat.kind === "group") return { ...chat, reads };
  return { ...chat, peer_read_id: Math.max(read_id, chat.peer_read_id ?? 0) };
}

function roomSet(state, name, chat) {
  const old = state.chats[chat.id];
  const next = withChat(state, { ...chat, reads: old?.reads });
  const windows = old && old.joined_id !== chat.joined_id ? without(state.windows, chat.id) : state.windows;
  return { ...next, windows, ids: { ...state.ids, [name]: chat.id, [chat.name]: chat.id } };
}

const roomDropped = (state, { id }) => ({
  ...state, chats: without(state.chats, id), windows: without(state.windows, id), typing: without(state.typing, id),
});

function userChanged(state, { user, was }) {
  const old = was ?? user.username;
  const chats = mapValues(state.chats, (chat) =>
    chat.kind === "pair" && chat.display_name === old
      ? { ...chat, display_name: user.username, image: user.image }
      : chat);
  const people = { ...without(state.people, old), [user.username]: user };
  const next = { ...state, chats, people };
  if (!was) return next;
  const renamed = (each) => (each?.user === was ? { ...each, user: user.username } : each);
  return {
    ...next,
    online: without(next.online, was),
    chats: mapValues(next.chats, (chat) => ({ ...chat, last_message: renamed(chat.last_message) })),
    windows: mapValues(next.windows, (window) => ({ ...window, list: window.list.map(renamed) })),
  };
}

function typed(state, id, user, until) {
  const now = state.typing[id] ?? {};
  if (until === undefined && !(user in now)) return state;
  const next = until === undefined ? without(now, user) : { ...now, [user]: until };
  return { ...state, typing: { ...state.typing, [id]: next } };
}

function snapshotSet(state, chats, cursor) {
  const kept = staled(state);
  const known = chats.map((chat) => [chat.id, { ...chat, reads: state.chats[chat.id]?.reads }]);
  const windows = Object.entries(kept.windows).filter(([id]) => {
    const chat = chats.find((each) => String(each.id) === id);
    return chat && chat.joined_id === state.chats[id]?.joined_id;
  });
  return {
    ...kept,
    cursor,
    isListed: true,
    chats: Object.fromEntries(known),
    ids: Object.fromEntries(chats.map((chat) => [chat.name, chat.id])),
    windows: Object.fromEntries(windows),
  };
}

// What the server has said meanwhile counts; of what this device kept, histories remain, which it cannot say.
function keptSet(state, kept) {
  const people = { ...kept.people, ...state.people };
  if (!state.isListed) return { ...state, ...kept, people };
  const isSame = ([id]) => state.chats[id]?.joined_id === kept.chats[id]?.joined_id && state.chats[id];
  return { ...state, people, windows: { ...Object.fromEntries(Object.entries(kept.windows).filter(isSame)), ...state.windows } };
}

const staled = (state) => ({
  ...state, typing: {}, windows: mapValues(state.windows, (window) => ({ ...window, stale: true })),
});

function historySet(state, { room, messages, where, older, newer }) {
  const before = windowOf(state, room);
  const isFresh = where === "newest" || where === "around";
  const window = {
    list: isFresh ? messages : added(before, messages).list,
    older: where === "newer" ? before.older : older,
    newer: where === "older" ? before.newer : newer,
  };
  // What happened since the question was asked may be missing in the answer.
  return (before.pending ?? []).reduce((next, event) => caughtUp(next, room, event), withWindow(state, room, window));
}

function caughtUp(state, room, { type, message }) {
  const window = state.windows[room];
  const isKnown = window.list.some((each) => each.id === message.id);
  if (type === "message" && !isKnown) return window.newer ? state : withWindow(state, room, added(window, [message]));
  if (type === "message") return state;
  if (type === "message_deleted") return replaced(state, room, message.id, gone(message.deleted_at));
  return replaced(state, room, message.id, (old) => (old.deleted_at ? old : { ...old, ...message }));
}

function added(window, messages) {
  const last = window.list.at(-1);
  if (!last || (messages.length && messages[0].id > last.id)) return { ...window, list: [...window.list, ...messages] };
  const byId = new Map([...window.list, ...messages].map((each) => [each.id, each]));
  return { ...window, list: [...byId.values()].sort((a, b) => a.id - b.id) };
}

function trimmed(window, keep) {
  if (window.list.length <= WINDOW_MAX) return window;
  return keep === "newest"
    ? { ...window, list: window.list.slice(-WINDOW_MAX), older: true }
    : { ...window, list: window.list.slice(0, WINDOW_MAX), newer: true };
}

function without(object, key) {
  const { [key]: _, ...rest } = object;
  return rest;
}

const mapValues = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
