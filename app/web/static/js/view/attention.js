// Whether somebody looks at the page, and what follows: marks, the title, the badge of the icon.
import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { t } from "../i18n/index.js";
import { keepUnread, keptUnread, markRead } from "../state/messages.js";
import { unreadChats, windowOf } from "../state/world.js";

const SEEN_MS = 1000; // that something has to be on the screen to count as read

const looks = () => document.visibilityState === "visible" && document.hasFocus();

/** Whether the page is visible and has the focus. */
export const attention = signal(looks());

for (const name of ["focus", "blur", "pageshow"]) addEventListener(name, () => (attention.value = looks()));
document.addEventListener("visibilitychange", () => (attention.value = looks()));

/** Marks as read what has been at the end of an open chat, before somebody's eyes, for a second. */
export function useReading(chat, isAtEnd) {
  const timer = useRef(undefined);
  const window = windowOf(chat.id);
  const last = window?.list.at(-1)?.id;
  const isSeen = attention.value && isAtEnd && window && !window.newer && !window.stale && keptUnread.value !== chat.id;
  const isUnread = last !== undefined && (last > chat.read_id || chat.unread > 0);
  const mark = () => {
    timer.current = undefined;
    markRead(chat, last);
  };
  useEffect(() => {
    if (isSeen && isUnread) timer.current ??= setTimeout(mark, SEEN_MS);
  });
  useEffect(() => {
    const stop = () => {
      clearTimeout(timer.current);
      timer.current = undefined;
    };
    if (!isSeen) stop();
    return stop;
  }, [chat.id, isSeen]);
  useEffect(() => () => keepUnread(undefined), [chat.id]);
}

/** What views call the tab; the one that came last counts. */
const titles = signal(/** @type {{text: string}[]} */ ([]));

/** Calls the tab so for as long as the view is there. */
export function useTitle(/** @type {string} */ text) {
  useEffect(() => {
    const mine = { text };
    titles.value = [...titles.peek(), mine];
    return () => void (titles.value = titles.peek().filter((each) => each !== mine));
  }, [text]);
}

/** Keeps the title of the tab and the badge of the icon right. */
export function tell() {
  effect(() => {
    const count = unreadChats.value;
    const title = titles.value.at(-1)?.text;
    document.title = [count && `(${count})`, title, title && "·", t("brand")].filter(Boolean).join(" ");
    if (count) navigator.setAppBadge?.(count).catch(() => {}); // not installed: nothing to put it on
    else navigator.clearAppBadge?.().catch(() => {});
  });
}
