// One WebSocket of the stream, from its handshake to its end.
import { token } from "./http.js";

const PATH = "/messenger/ws/events/";
export const SILENCE_MS = 60_000; // the server sends a beat every 25 s
const OPEN_MS = 15_000;

/**
 * Opens the stream.
 * @param {{after?: number, epoch?: string, most?: number}} from
 * @param {{onOpen: () => void, onFrame: (frame: any) => void, onClose: (code: number, wasOpen: boolean) => void}} on
 */
export async function openSocket(from, on) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(from)) if (value != null) query.set(key, String(value));
  const url = new URL(`${PATH}?${query}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return new Socket(new WebSocket(url, ["bearer", await token()]), on);
}

class Socket {
  #ws;
  #on;
  #heardAt = Date.now();
  #wasOpen = false;
  #watch;
  #pings = 0;

  constructor(/** @type {WebSocket} */ ws, on) {
    this.#ws = ws;
    this.#on = on;
    ws.onopen = () => {
      this.#wasOpen = true;
      this.#heardAt = Date.now();
      on.onOpen();
    };
    ws.onmessage = (event) => {
      this.#heardAt = Date.now();
      on.onFrame(JSON.parse(event.data));
    };
    ws.onclose = (event) => this.#end(event.code);
    this.#watch = setInterval(() => this.#look(), 5000);
  }

  #look() {
    const silence = Date.now() - this.#heardAt;
    if (silence > (this.#wasOpen ? SILENCE_MS : OPEN_MS)) this.close();
  }

  #end(code) {
    if (!this.#watch) return;
    clearInterval(this.#watch);
    this.#watch = undefined;
    this.#ws.onopen = this.#ws.onmessage = this.#ws.onclose = null;
    this.#on.onClose(code, this.#wasOpen);
  }

  get isOpen() {
    return Boolean(this.#watch) && this.#ws.readyState === WebSocket.OPEN;
  }

  /** Sends a frame; returns whether there was a socket to send it by. */
  send(frame) {
    if (this.isOpen) this.#ws.send(JSON.stringify(frame));
    return this.isOpen;
  }

  /** Finds out whether the connection still lives: no answer within 5 s is its end. */
  ping() {
    if (!this.isOpen) return;
    const asked = Date.now();
    this.send({ type: "ping", ref: `ping-${++this.#pings}` });
    setTimeout(() => this.#watch && this.#heardAt < asked && this.close(), 5000);
  }

  /** Ends it at once, without waiting for the other side, which may be gone. */
  close() {
    this.#ws.close();
    this.#end(1006);
  }
}
