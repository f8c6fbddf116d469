// Keeps the state like that of the server: the list of chats, then everything that follows it.
import { batch } from "@preact/signals";

import * as http from "../net/http.js";
import { askForChats } from "../net/snapshot.js";
import { connectAnew, connection, listen, sendFrame, stop as stopStream } from "../net/stream.js";
import * as store from "../net/store.js";
import { empty } from "./apply.js";
import { loadDrafts } from "./drafts.js";
import { isWaiting, loadOutbox, resend, settled } from "./outbox.js";
import { begin, dispatch, enqueue, world } from "./world.js";

const TYPING_MS = 6000;
const ACTIVE_MS = 30_000;
const KEPT_CHATS = 20;
const KEPT_MESSAGES = 50;
const KEEP_MS = 1000; // after a change until it is kept

let isListed = false; // whether the list of chats is that of the server
let listing; // while it is asked for
let run; // tells a start that another one, or the end, has overtaken it
let timers = [];
let forgetView = () => {};

/** Begins for whoever is logged in: with what this device kept or what the server says, whichever is first. */
export async function start(/** @type {string} */ me) {
  stop();
  const mine = (run = Symbol(me));
  begin(empty(me));
  isListed = false;
  prepare().catch(() => {}); // the stream asks again
  const [kept] = await Promise.all([store.find("kept", "state").catch(() => undefined), loadOutbox(), loadDrafts()]);
  if (mine !== run) return; // logged out meanwhile
  if (kept?.me === me) dispatch({ type: "kept", kept });
  listen({ cursor, prepare, onFrame, onCursor: (id) => enqueue({ type: "cursor", id }) });
  timers = [setInterval(sayActive, ACTIVE_MS)];
  document.addEventListener("visibilitychange", sayActive);
  const unkeep = world.subscribe(keepSoon);
  const unresend = connection.subscribe((now) => now === "live" && resend());
  forgetView = () => (unkeep(), unresend());
}

export function stop() {
  run = listing = undefined;
  stopStream();
  timers.forEach(clearInterval);
  clearTimeout(keepTimer);
  document.removeEventListener("visibilitychange", sayActive);
  forgetView();
  forgetView = () => {};
}

function cursor() {
  const { cursor: after, epoch } = world.peek();
  return { after, epoch };
}

/** Asks for the list of chats, unless it is there; the stream goes on from its number. */
function prepare() {
  if (isListed) return;
  const mine = run;
  listing ??= askForChats().finally(() => (listing = undefined)).then((answer) => {
    if (mine !== run) return;
    dispatch({ type: "snapshot", ...answer });
    isListed = true;
  });
  return listing;
}

function onFrame(frame) {
  if (frame.type === "reset") {
    isListed = false; // too much was missed, or the server has another past
    connectAnew();
  } else receive(frame);
}

function receive(frame) {
  if (frame.type === "message" && isWaiting(frame.message)) {
    // The letter goes in the same moment in which its message comes, so that its row, and the focus on it, stay.
    batch(() => (dispatch(frame), settled(frame.message)));
  } else if (frame.type === "typing") {
    const until = Date.now() + TYPING_MS;
    enqueue({ ...frame, until });
    setTimeout(() => hush(frame), TYPING_MS + 50);
  } else enqueue(frame);
  if (frame.type === "ready") greet();
  if (frame.type === "message_deleted") recount(frame);
}

function hush({ room, user }) {
  const { ids, typing } = world.peek();
  const id = ids[room];
  if (typing[id]?.[user] <= Date.now()) dispatch({ type: "typing_over", room: id, user });
}

/** After a connection: who is here, and that we are. */
async function greet() {
  sayActive();
  const names = await http.get("/messenger/api/presence/").catch(() => []);
  dispatch({ type: "everybody_online", names });
}

export const isActive = () => document.visibilityState === "visible";
const sayActive = () => sendFrame({ type: "active", active: isActive() });

// A deleted message may have been the newest one, or unread: only the server can say.
async function recount({ room }) {
  const chat = world.peek().chats[world.peek().ids[room]];
  if (!chat || (chat.last_message && !chat.unread)) return;
  await reloadChat(chat.name).catch(() => {});
}

/** Asks for one chat anew. */
export async function reloadChat(/** @type {string} */ name) {
  const chat = await http.get(`/messenger/api/chatrooms/${encodeURIComponent(name)}/`);
  dispatch({ type: "room", room: name, chat });
}

let keepTimer;

function keepSoon() {
  clearTimeout(keepTimer);
  keepTimer = setTimeout(keep, KEEP_MS);
}

// A copy for the next start, with or without a network: the list, and the ends of the newest chats.
function keep() {
  const { me, chats, ids, windows, people } = world.peek();
  const newest = Object.values(chats).sort((a, b) => b.event_id - a.event_id).slice(0, KEPT_CHATS);
  const ends = newest.flatMap(({ id }) => {
    const window = windows[id];
    if (!window || window.newer) return [];
    return [[id, { list: window.list.slice(-KEPT_MESSAGES), older: true, newer: false, stale: true }]];
  });
  const kept = { me, chats, ids, people, windows: Object.fromEntries(ends) };
  if (me) store.put("kept", "state", kept).catch(() => {}); // a full disk costs the copy only
}
