// A client for one chat room of Beseda. It reconnects, resumes, and sends again without sending twice.
// Copy it. docs/websocket.md gives the reasons. For browsers; no dependencies.

const GIVE_UP = [1002, 1003, 1007, 1009, 4400, 4404]; // another attempt would end in the same way
const MIN_DELAY_MS = { 1011: 5000, 4408: 1000, 4429: 30000 }; // before the next attempt, by close code
const MAX_DELAY_MS = 30000;
const RETRY = ["database_unavailable", "outcome_unknown", "overloaded", "throttled"];
const RETRY_MS = 2000;
const SETTLED_MS = 1000; // a refused socket is closed earlier than this
const MESSAGE_CHARS_MAX = 10000;

export class Chat {
  #pending = new Map(); // client_id → {text, resolve, reject}
  #failures = 0;
  #refused = false; // the last token
  #state = "reconnecting";
  #over = null; // the error of everything that is sent after the end

  // url: of the server, ws:// or wss://. room: its name.
  // token(refused): promises an access token, or null if the person has to log in again. It is told whether the
  //   last token was refused. If it rejects (no connection, say), it is asked again later.
  // onMessage(message): called for each message of the room once, in order.
  // onState(state): "connected" or "reconnecting", at each change.
  // onOver(code, reason): called once, when the chat has ended for good. reason is "logged_out" (log in, then
  //   make a new Chat), "no_room", "client_error" (a defect of this client) or "closed" (by close()).
  // after: the id of the last message that you have; 0 for the whole history.
  constructor({ url, room, token, onMessage, onState = () => {}, onOver = () => {}, after = 0 }) {
    Object.assign(this, { token, onMessage, onState, onOver, lastId: after });
    this.url = `${url}/messenger/ws/ws/chat/${encodeURIComponent(room)}/`;
    this.#connect();
  }

  // Promises the stored message. Rejects if the message is refused, or if the chat ends before it is stored.
  send(text) {
    if (this.#over) return Promise.reject(this.#over);
    if ([...text].length > MESSAGE_CHARS_MAX) {
      // The server closes the socket of a client that sends a frame of over 128 KiB.
      return Promise.reject(new RangeError(`A message has at most ${MESSAGE_CHARS_MAX} characters.`));
    }
    const clientId = crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
    return new Promise((resolve, reject) => {
      this.#pending.set(clientId, { text, resolve, reject });
      this.#transmit(clientId);
    });
  }

  close() {
    this.#end(1000, "closed");
  }

  async #connect() {
    let token;
    try {
      token = await this.token(this.#refused);
    } catch {
      return this.#reconnect(1006);
    }
    if (this.#over) return;
    if (!token) return this.#end(4401, "logged_out");
    const socket = (this.socket = new WebSocket(`${this.url}?after=${this.lastId}`, ["bearer", token]));
    let settled;
    socket.onopen = () => {
      settled = setTimeout(() => this.#connected(), SETTLED_MS);
      [...this.#pending.keys()].forEach((clientId) => this.#transmit(clientId));
    };
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => {
      clearTimeout(settled);
      this.#reconnect(event.code);
    };
  }

  #connected() {
    this.#failures = 0;
    this.#refused = false;
    this.#tell("connected");
  }

  #reconnect(code) {
    if (this.#over) return;
    if (GIVE_UP.includes(code)) return this.#end(code, code === 4404 ? "no_room" : "client_error");
    if (code === 4401 && this.#refused) return this.#end(code, "logged_out");
    this.#refused = code === 4401;
    this.#tell("reconnecting");
    this.#failures += 1;
    const atMost = Math.min(MAX_DELAY_MS, 500 * 2 ** this.#failures); // random, so that clients spread
    setTimeout(() => this.#over || this.#connect(), (MIN_DELAY_MS[code] ?? 0) + Math.random() * atMost);
  }

  #tell(state) {
    if (state !== this.#state) this.onState((this.#state = state));
  }

  #end(code, reason) {
    if (this.#over) return;
    this.#over = Object.assign(new Error(`The chat has ended: ${reason}`), { code, reason });
    this.socket?.close();
    for (const { reject } of this.#pending.values()) reject(this.#over);
    this.#pending.clear();
    this.onOver(code, reason);
  }

  #transmit(clientId) {
    const pending = this.#pending.get(clientId);
    if (pending && this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ message: pending.text, client_id: clientId }));
    }
  }

  #receive(frame) {
    if (this.#over) return;
    this.#connected();
    const clientId = frame.client_id ?? frame.error?.client_id;
    const pending = this.#pending.get(clientId);
    if (frame.id === null) {
      if (RETRY.includes(frame.error.code)) setTimeout(() => this.#transmit(clientId), RETRY_MS);
      else if (this.#pending.delete(clientId)) pending.reject(new Error(frame.content));
      return;
    }
    if (this.#pending.delete(clientId)) pending.resolve(frame);
    if (frame.id > this.lastId) { // not the answer to a message that was sent twice
      this.lastId = frame.id;
      this.onMessage(frame);
    }
  }
}

// Makes a `token` function from a refresh token. server: its https:// or http:// URL.
export function refreshing(server, refresh) {
  return async () => {
    const response = await fetch(`${server}/accounts/api/token/refresh/`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ refresh }),
    });
    if (response.status === 401) return null;
    if (!response.ok) throw new Error(`The server answered ${response.status}.`);
    return (await response.json()).access;
  };
}
