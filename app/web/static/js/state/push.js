// Notifications while the page is closed, which each device has or has not.
import { signal } from "@preact/signals";

import * as http from "../net/http.js";

const PATH = "/accounts/api/push/";
const WANTED = "push"; // in localStorage: "on" where somebody turned them on, "no" where somebody said not now

const can = "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;
// An iPhone or iPad notifies for pages of its Home Screen only; an iPad calls itself a Mac that can be touched.
const isApple = /iPhone|iPad/.test(navigator.userAgent) || (/Mac/.test(navigator.userAgent) && navigator.maxTouchPoints > 1);
const isInstalled = matchMedia("(display-mode: standalone)").matches;
export const needsHomeScreen = isApple && !isInstalled;

/**
 * What this device does: "on", "off", "denied" (the browser was told so), "impossible".
 * @type {import("@preact/signals").Signal<"on" | "off" | "denied" | "impossible">}
 */
export const push = signal(stateNow());
const wanted = signal(localStorage.getItem(WANTED));

function stateNow() {
  if (!can) return "impossible";
  if (Notification.permission === "denied") return "denied";
  return Notification.permission === "granted" && localStorage.getItem(WANTED) === "on" ? "on" : "off";
}

function want(/** @type {"on" | "no"} */ value) {
  localStorage.setItem(WANTED, value);
  wanted.value = value;
  push.value = stateNow();
}

/** Whether somebody has not yet said if this device is to notify. */
export const isUndecided = () => wanted.value === null && (push.value === "off" || needsHomeScreen);

export const notNow = () => want("no");

/** Asks the browser, which has to be in answer to a tap, and tells the server where to send. */
export async function turnOn() {
  if ((await Notification.requestPermission()) !== "granted") return want("no");
  await subscribe();
  want("on");
}

/** @throws {http.Problem | http.Unreachable} The server was not told, so it would go on. */
export async function turnOff() {
  const subscription = await (await ready()).pushManager.getSubscription();
  if (subscription) await http.remove(PATH, { endpoint: subscription.endpoint });
  await subscription?.unsubscribe();
  want("no");
}

/** Renews what the browser or the server may have lost; for each start of the page. */
export async function renew() {
  if (push.peek() === "on") await subscribe();
}

/** Forgets that this device notifies: somebody logs out. The server forgets it with the session. */
export async function forgetPush() {
  localStorage.removeItem(WANTED);
  if (!can || push.peek() !== "on") return;
  const subscription = await (await navigator.serviceWorker.getRegistration())?.pushManager.getSubscription();
  await subscription?.unsubscribe();
}

export const tryOut = () => http.post(`${PATH}test/`);

const ready = () => navigator.serviceWorker.ready;

async function subscribe() {
  const { pushManager } = await ready();
  const { key } = await http.get(PATH);
  const options = { userVisibleOnly: true, applicationServerKey: key };
  const subscription = await pushManager.subscribe(options).catch(async (error) => {
    if (error.name !== "InvalidStateError") throw error; // of another key: that of before
    await (await pushManager.getSubscription())?.unsubscribe();
    return pushManager.subscribe(options);
  });
  const { endpoint, keys } = subscription.toJSON();
  await http.post(PATH, { endpoint, keys });
}
