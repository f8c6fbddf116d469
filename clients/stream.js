// A client for the stream of Beseda: it keeps the state of all rooms of a person right, through breaks, restarts and
// long absences, and sends again without sending twice. Copy it and chats.js. docs/websocket.md gives the reasons. No
// dependencies.

import { Chats } from "./chats.js";

const GIVE_UP = [1002, 1003, 1007, 1009, 4400]; // another attempt would end in the same way
const MIN_DELAY_MS = { 1011: 5000, 4408: 1000, 4429: 30000 }; // before the next attempt, by close code
const RETRY = ["database_unavailable", "outcome_unknown", "overloaded", "throttled"];
const RETRY_MS = 2000;
const REPLAY_MAX = 500; // events; after a longer absence the list of chats is loaded instead
const MESSAGE_CHARS_MAX = 10000;

export class Stream {
  chats = new Chats();
  #isLoaded = false; // whether the stream can go on where `chats` is
  #pending = new Map(); // client_id → {frame, resolve, reject}
  #failures = 0;
  #refused = false; // the last token
  #state = "reconnecting";
  #over = null;

  // server: its https:// or http:// URL. token(refused): as in chat.js: promises an access token, or null if the person
  // has to log in again. onChange(frame): `chats` has changed by a frame, or was loaded anew (undefined).
  // onState: "connected" or "reconnecting". onOver(code, reason): once; "logged_out", "client_error" or "closed".
  constructor({ server, token, onChange = () => {}, onState = () => {}, onOver = () => {} }) {
    Object.assign(this, { server, token, onChange, onState, onOver });
    this.#connect();
  }

  // Promises the stored message. Rejects if it is refused, or if the stream ends before it is stored.
  send(room, content, replyTo) {
    if (this.#over) return Promise.reject(this.#over);
    if ([...content].length > MESSAGE_CHARS_MAX) return Promise.reject(new RangeError(`A message has at most ${MESSAGE_CHARS_MAX} characters.`));
    const id = crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
    const frame = { type: "send", ref: id, client_id: id, room, content, ...(replyTo && { reply_to: replyTo }) };
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { frame, resolve, reject });
      if (this.#state === "connected") this.#write(frame);
    });
  }

  // Marks a room as read. A mark that gets lost is made good by the next one.
  read(room, readId) {
    this.#write({ type: "read", room, read_id: readId });
  }

  close() {
    this.#end(1000, "closed");
  }

  async #connect() {
    let token;
    try {
      token = await this.token(this.#refused);
      if (token && !this.#isLoaded) await this.#load(token);
    } catch (error) {
      return this.#reconnect(error.code ?? 1006);
    }
    if (this.#over) return;
    if (!token) return this.#end(4401, "logged_out");
    const query = new URLSearchParams({ after: this.chats.cursor, most: REPLAY_MAX, ...(this.epoch && { epoch: this.epoch }) });
    const url = `${this.server.replace("http", "ws")}/messenger/ws/events/?${query}`;
    const socket = (this.socket = new WebSocket(url, ["bearer", token]));
    socket.onmessage = (event) => socket === this.socket && this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.socket && this.#reconnect(event.code);
    this.#expect(60);
  }

  async #load(token) {
    const response = await this.#get("chats/", token);
    this.chats = new Chats(await response.json(), Number(response.headers.get("X-Event-ID")));
    this.#isLoaded = true;
    this.onChange();
  }

  async #get(path, token) {
    const response = await fetch(`${this.server}/messenger/api/${path}`, { headers: { Authorization: `Bearer ${token}` } });
    if (response.ok) return response;
    throw Object.assign(new Error(`${path}: ${response.status}`), { code: response.status === 401 ? 4401 : 1006 });
  }

  // A page sees no pings: if nothing comes for so long, not even a beat, the socket is dead.
  #expect(seconds) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.#reconnect(1006), seconds * 1000);
  }

  #reconnect(code) {
    if (this.#over) return;
    const old = this.socket;
    this.socket = null; // an old socket that speaks again is not heard
    old?.close();
    clearTimeout(this.silence);
    if (GIVE_UP.includes(code)) return this.#end(code, "client_error");
    if (code === 4401 && this.#refused) return this.#end(code, "logged_out");
    this.#refused = code === 4401;
    this.#tell("reconnecting");
    this.#failures += 1;
    const delay = (MIN_DELAY_MS[code] ?? 0) + Math.random() * Math.min(30000, 500 * 2 ** this.#failures);
    setTimeout(() => this.#over || this.#connect(), delay);
  }

  #tell(state) {
    if (state !== this.#state) this.onState((this.#state = state));
  }

  #end(code, reason) {
    if (this.#over) return;
    this.#over = Object.assign(new Error(`The stream has ended: ${reason}`), { code, reason });
    clearTimeout(this.silence);
    this.socket?.close();
    for (const { reject } of this.#pending.values()) reject(this.#over);
    this.#pending.clear();
    this.onOver(code, reason);
  }

  #write(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  #receive(frame) {
    if (this.#over) return;
    this.#expect(this.beatSeconds * 2 || 60);
    const pending = this.#pending.get(frame.ref);
    switch (frame.type) {
      case "hello":
        this.beatSeconds = frame.beat_seconds;
        this.epoch ??= frame.epoch;
        this.chats.me = frame.user;
        return;
      case "reset": // the list of chats is loaded again, and the stream begins there
        this.#isLoaded = false;
        this.epoch = frame.epoch;
        this.#failures = -1; // at once: nothing is wrong
        return this.#reconnect(1012);
      case "ready":
        this.#failures = 0;
        this.#refused = false;
        this.#tell("connected");
        for (const { frame } of this.#pending.values()) this.#write(frame);
        break;
      case "done":
        if (this.#pending.delete(frame.ref)) pending.resolve(frame.message);
        return;
      case "error":
        if (pending && RETRY.includes(frame.code)) setTimeout(() => this.#pending.has(frame.ref) && this.#write(pending.frame), RETRY_MS);
        else if (this.#pending.delete(frame.ref)) pending.reject(Object.assign(new Error(frame.detail), { code: frame.code }));
        return;
    }
    const chat = frame.id !== undefined && this.chats.apply(frame);
    if (chat) this.#findLast(chat);
    this.onChange(frame); // typing and presence, too: they have no id, and change nothing in `chats`
  }

  async #findLast(chat) {
    try {
      let found, cursor;
      while (cursor !== this.chats.cursor) {
        cursor = this.chats.cursor; // what is deleted while it is asked, is asked about again
        const response = await this.#get(`chatrooms/${encodeURIComponent(chat.name)}/`, await this.token(false));
        found = (await response.json()).last_message;
      }
      chat.last_message ??= found;
      this.onChange();
    } catch {
      this.#isLoaded = false; // everything is loaded at the next connection
    }
  }
}
