// A chat client for Beseda: reconnects, resumes, and sends again without sending twice.
// Copy it; docs/websocket.md says why it does what it does. For browsers, no dependencies.

const OVER = [1002, 1003, 1007, 1009, 4400, 4404]; // trying again would not help
const PATIENCE = { 1011: 5000, 4408: 1000, 4429: 30000 }; // milliseconds to wait at least
const AGAIN = ["database_unavailable", "outcome_unknown", "overloaded", "throttled"];

export class Chat {
  #unanswered = new Map(); // client_id → {text, resolve, reject}
  #failures = 0;
  #refused = false;
  #closed = false;

  // url: of the server, ws:// or wss://. room: its name. token(refused): promises an access token;
  // is told whether the last one was refused. onMessage gets each message once, in order.
  // onOver(code): it is closed for good. after: the id of the last message you have; 0 for all.
  constructor({ url, room, token, onMessage, onOver = () => {}, after = 0 }) {
    Object.assign(this, { token, onMessage, onOver, lastId: after });
    this.url = `${url}/messenger/ws/ws/chat/${encodeURIComponent(room)}/`;
    this.#connect();
  }

  // Promises the message when it is stored; rejects with the reason if it is refused.
  send(text) {
    const clientId = crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
    return new Promise((resolve, reject) => {
      this.#unanswered.set(clientId, { text, resolve, reject });
      this.#transmit(clientId);
    });
  }

  close() {
    this.#closed = true;
    this.socket?.close();
  }

  async #connect() {
    let token;
    try {
      token = await this.token(this.#refused);
    } catch {
      return this.#gone(1006);
    }
    if (this.#closed) return;
    const socket = (this.socket = new WebSocket(`${this.url}?after=${this.lastId}`, ["bearer", token]));
    socket.onopen = () => [...this.#unanswered.keys()].forEach((clientId) => this.#transmit(clientId));
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#gone(event.code);
  }

  #gone(code) {
    if (this.#closed || OVER.includes(code) || (code === 4401 && this.#refused)) return this.onOver(code);
    this.#refused = code === 4401;
    this.#failures += 1;
    const atMost = Math.min(30000, 500 * 2 ** this.#failures); // spread, so that not all come at once
    setTimeout(() => this.#connect(), (PATIENCE[code] ?? 0) + Math.random() * atMost);
  }

  #transmit(clientId) {
    const waiting = this.#unanswered.get(clientId);
    if (waiting && this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ message: waiting.text, client_id: clientId }));
    }
  }

  #receive(frame) {
    this.#failures = 0;
    this.#refused = false;
    const clientId = frame.client_id ?? frame.error?.client_id;
    const waiting = this.#unanswered.get(clientId);
    if (frame.id === null) {
      if (AGAIN.includes(frame.error.code)) setTimeout(() => this.#transmit(clientId), 2000);
      else if (this.#unanswered.delete(clientId)) waiting.reject(new Error(frame.content));
      return;
    }
    if (this.#unanswered.delete(clientId)) waiting.resolve(frame);
    if (frame.id > this.lastId) { // not so the answer to what was sent twice
      this.lastId = frame.id;
      this.onMessage(frame);
    }
  }
}
