// The keyboard: what works anywhere.
import { chatPath, go, route } from "../state/route.js";
import { openSearch } from "../state/search.js";
import { status } from "../state/session.js";
import { chats } from "../state/world.js";
import { isDialogOpen } from "./dialog.js";
import { showKeys, showNewChat, showSwitcher } from "./lazy.js";

const isWriting = (element) => element?.matches?.("input, textarea, select, [contenteditable]");

/** Listens for the keys that work anywhere. */
export function listenToKeys() {
  addEventListener("keydown", (event) => {
    if (isDialogOpen() || event.defaultPrevented || status.peek() !== "in") return;
    const has = (ctrl, alt, code) => (event.ctrlKey || event.metaKey) === ctrl && event.altKey === alt && event.code === code;
    if (has(true, false, "KeyK") && !event.shiftKey) showSwitcher();
    else if (has(true, false, "KeyF") && event.shiftKey) openSearch();
    else if (has(false, true, "KeyN")) showNewChat();
    else if (has(false, true, "ArrowDown")) move(1, event.shiftKey);
    else if (has(false, true, "ArrowUp")) move(-1, false);
    else if (event.key === "?" && !isWriting(event.target)) showKeys();
    else return;
    event.preventDefault();
  });
}

function move(step, isUnreadOnly) {
  const { parts } = route.peek();
  const all = chats.peek();
  const at = all.findIndex((chat) => parts[0] === "chat" && chat.name === parts[1]);
  const next = isUnreadOnly
    ? [...all.slice(at + 1), ...all.slice(0, at + 1)].find((chat) => chat.unread)
    : all[at < 0 ? 0 : at + step];
  if (next) go(chatPath(next.name));
}
