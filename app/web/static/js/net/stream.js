// The stream of everything that happens to somebody, kept alive through all that networks do.
import { signal } from "@preact/signals";

import { Problem, token } from "./http.js";
import { openSocket } from "./socket.js";

const BACKOFF_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const REFUSED_MAX = 3; // sockets that never opened, before long-poll takes over
const SOCKET_AGAIN_MS = 120_000; // after which a socket is tried once more
const REPLAY_MAX = 2000; // events; beyond that the list of chats is quicker
const LOGGED_OUT = 4401;
const SIGNS = ["online", "offline", "pageshow"]; // that the connection may be gone

/** "connecting", "live" (all that was missed is there), "waiting" (until the next attempt). */
export const connection = signal(/** @type {"connecting" | "live" | "waiting"} */ ("connecting"));

/**
 * What is listened for: `prepare` finds out where to begin, `cursor` says where to go on.
 * @typedef {{cursor: () => {after?: number, epoch?: string}, prepare: () => Promise<any>,
 *   onFrame: (frame: any) => void, onCursor: (id: number) => void}} Source
 */
/** @type {Source | undefined} */
let source;
let socket;
let polling;
let attempt = 0;
let refused = 0;
let timer;

/** Begins to listen. */
export function listen(/** @type {Source} */ to) {
  stop();
  source = to;
  attempt = refused = 0;
  for (const name of SIGNS) addEventListener(name, wake);
  document.addEventListener("visibilitychange", wake);
  connect();
}

export function stop() {
  source = undefined;
  clearTimeout(timer);
  for (const name of SIGNS) removeEventListener(name, wake);
  document.removeEventListener("visibilitychange", wake);
  end();
}

function end() {
  const ended = socket;
  socket = undefined;
  ended?.close();
  polling?.abort();
  polling = undefined;
}

/** Sends a frame if the socket is open; returns whether it was. */
export const sendFrame = (frame) => Boolean(socket?.send(frame));

/** Looks at once whether the connection is alive, and connects if there is none. */
export function wake() {
  if (!source || document.visibilityState === "hidden") return;
  if (socket?.isOpen) socket.ping();
  else if (timer) {
    attempt = 0;
    connect();
  }
}

async function connect() {
  clearTimeout(timer);
  timer = undefined;
  if (connection.value !== "live") connection.value = "connecting";
  const mine = source;
  try {
    await mine.prepare();
    if (mine !== source) return;
    if (refused >= REFUSED_MAX) return await listenByPoll(mine);
    const opened = await openSocket({ ...mine.cursor(), most: REPLAY_MAX }, {
      onOpen: () => (refused = 0),
      onFrame: (frame) => mine === source && receive(frame),
      onClose: (code, wasOpen) => mine === source && opened === socket && closed(code, wasOpen),
    });
    if (mine === source) socket = opened;
    else opened.close();
  } catch (error) {
    if (mine !== source) return;
    if (error instanceof Problem && error.status === 401) return; // the session is over
    later();
  }
}

function receive(frame) {
  if (frame.type === "ready") {
    connection.value = "live";
    attempt = 0;
  }
  source.onFrame(frame);
}

async function closed(code, wasOpen) {
  socket = undefined;
  if (!wasOpen) refused++;
  if (code === LOGGED_OUT) await token(await token()).catch(() => {});
  if (source) later();
}

/** Ends the connection and begins anew, at the place that the source then says. */
export function connectAnew() {
  end();
  connection.value = "connecting";
  connect();
}

function later() {
  if (timer) return;
  connection.value = "waiting";
  const pause = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** attempt++);
  timer = setTimeout(connect, pause * (0.5 + Math.random()));
}

async function listenByPoll(mine) {
  polling = new AbortController();
  const mineToo = polling;
  const again = setTimeout(() => {
    refused = REFUSED_MAX - 1;
    mineToo.abort();
    connect();
  }, SOCKET_AGAIN_MS);
  try {
    const { poll } = await import("./poll.js"); // few networks need it
    await poll(mine.cursor(), (frames, id) => {
      if (mineToo.signal.aborted) return;
      frames.forEach((frame) => mine.onFrame(frame));
      mine.onCursor(id);
      connection.value = "live";
      attempt = 0;
    }, mineToo.signal);
  } catch (error) {
    clearTimeout(again);
    if (!mineToo.signal.aborted) throw error;
  }
}
