// Says new messages of the open chat to screen readers, at most one sentence in two seconds.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { t } from "../i18n/index.js";
import { windowOf, world } from "../state/world.js";
import { html } from "./html.js";

const PAUSE_MS = 2000;
const sentence = signal("");

export const Announcements = () => html`<div class="off-screen" aria-live="polite" id="announcements">${sentence.value}</div>`;

/** Announces what comes into a chat while it is open. */
export function useAnnouncements(chat) {
  const said = useRef(undefined);
  const timer = useRef(undefined);
  const last = windowOf(chat.id)?.list.at(-1)?.id;
  useEffect(() => {
    said.current ??= last;
    if (last === undefined || !(last > said.current) || timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = undefined;
      const list = windowOf(chat.id)?.list ?? [];
      const fresh = list.filter((each) => each.id > said.current && each.user !== world.peek().me && !each.deleted_at);
      said.current = list.at(-1)?.id ?? said.current;
      if (fresh.length === 1) sentence.value = `${fresh[0].user}: ${fresh[0].content}`;
      else if (fresh.length) sentence.value = t("new_count", { n: fresh.length });
    }, sentence.peek() ? PAUSE_MS : 100);
  }, [last]);
  useEffect(() => () => {
    clearTimeout(timer.current);
    sentence.value = "";
  }, [chat.id]);
}
