// What stands around the messages of a chat: its beginning, who types, shapes while it loads.
import { t } from "../i18n/index.js";
import { typing } from "../state/world.js";
import { ChatAvatar } from "./avatar.js";
import { classes, html } from "./html.js";

/** The beginning of a chat. */
export const Hello = ({ chat, isEmpty }) => html`
  <div class="hello">
    <${ChatAvatar} chat=${chat} size="96" still />
    <bdi class="hello__name">${chat.display_name}</bdi>
    <p>${isEmpty ? t("nothing_written") : t("chat_begins")}</p>
  </div>`;

/** Who types, in one sentence; undefined if nobody does. */
export function typingSentence(chat) {
  const names = Object.keys(typing.value[chat.id] ?? {});
  if (!names.length) return undefined;
  if (names.length === 1) return t("types", { name: names[0] });
  return names.length === 2 ? t("two_type", { one: names[0], two: names[1] }) : t("many_type", { n: names.length });
}

export function Typing({ chat }) {
  const sentence = typingSentence(chat);
  if (!sentence) return null;
  return html`
    <div class="typing"><span class="dots" aria-hidden="true"><i></i><i></i><i></i></span><span>${sentence}</span></div>`;
}

const SHAPES = [[3], [1, true], [2], [2, true], [1], [3, true]];

/** The shapes of messages that are asked for. */
export const Ghosts = () => html`
  <div class="timeline__in late" aria-hidden="true">
    ${SHAPES.map(([size, isOwn]) => html`
      <div class=${classes("msg msg--first msg--last", isOwn && "msg--own")}><div class=${`bubble bone ghost ghost--${size}`}></div></div>`)}
  </div>`;
