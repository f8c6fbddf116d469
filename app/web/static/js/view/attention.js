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

/** What the tab is called; views say their part. */
export const title = signal("");

/** Keeps the title of the tab and the badge of the icon right. */
export function tell() {
  effect(() => {
    const count = unreadChats.value;
    document.title = [count ? `(${count})` : "", title.value, title.value ? "·" : "", t("brand")].filter(Boolean).join(" ");
    if (count) navigator.setAppBadge?.(count).catch(() => {}); // not installed: nothing to put it on
    else navigator.clearAppBadge?.().catch(() => {});
  });
}
