// The stream by long-poll, for networks that let no WebSocket through.
import { request } from "./http.js";

const WAIT_SECONDS = 25;

/**
 * Asks for events until it is told to stop; throws as soon as an answer fails.
 * @param {{after: number, epoch?: string}} from Where to begin.
 * @param {(frames: any[], id: number) => void} onFrames The frames, and the cursor after them.
 * @param {AbortSignal} signal
 */
export async function poll({ after, epoch }, onFrames, signal) {
  for (let wait = 0; !signal.aborted; wait = WAIT_SECONDS) {
    const query = new URLSearchParams({ after: String(after), wait: String(wait), limit: "500" });
    if (epoch) query.set("epoch", epoch);
    const response = await request("GET", `/messenger/api/events/?${query}`, { signal });
    after = Number(response.headers.get("X-Event-ID"));
    onFrames(await response.json(), after);
  }
}
