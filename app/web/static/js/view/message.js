// One message: its bubble, and what stands on it.
import { useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { quoteOf } from "../state/messages.js";
import { retry, takeBack } from "../state/outbox.js";
import { chatPath, go } from "../state/route.js";
import { copy } from "../text/clipboard.js";
import { split } from "../text/links.js";
import { hue } from "../text/names.js";
import { isOnlyEmoji } from "../text/onlyemoji.js";
import { clock, day } from "../text/time.js";
import { Attachments, isSeen } from "./attachments.js";
import { PersonAvatar } from "./avatar.js";
import { attempt } from "./failure.js";
import { classes, html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { memo } from "./memo.js";

const SIGNS = { read: "checks", sent: "check", waiting: "clock", refused: "alert" };
const SIGN_CLASSES = { read: "icon--read", refused: "icon--bad" };

/** Text as it was written, with its links. */
export const Text = ({ text }) => split(text).map((part) =>
  typeof part === "string"
    ? part
    : html`<a href=${part.href} target="_blank" rel="noopener noreferrer nofollow">${part.text}</a>`);

const Meta = ({ message, status, over }) => html`
  <span class=${classes("meta", over && "meta--over")}>
    ${message.edited_at && html`<span>${t("edited")}</span>`}
    <time datetime=${message.timestamp}>${clock(message.timestamp)}</time>
    ${status && html`<${Icon} name=${SIGNS[status]} extra=${SIGN_CLASSES[status]} /><span class="off-screen">${t(`is_${status}`)}</span>`}
  </span>`;

function Quote({ chat, id, me }) {
  const quoted = quoteOf(chat, id).value;
  const who = quoted?.user;
  return html`
    <button class="quote" type="button" data-hue=${who && who !== me ? hue(who) : undefined} onClick=${() => go(chatPath(chat.name, id))}>
      <bdi class="quote__who one-line">${who === me ? t("you") : who ?? "…"}</bdi>
      <span class="quote__text one-line" dir="auto">
        ${quoted === null || quoted?.deleted_at ? t("message_deleted") : quoted?.content ?? "…"}
      </span>
    </button>`;
}

/** Why a message was not taken, and what can be done about it. */
const Fault = ({ letter }) => html`
  <p class="fault" role="alert">
    <span>${letter.reason}</span>
    <span class="fault__do">
      ${letter.canRetry
        ? html`<button class="link" type="button" onClick=${() => retry(letter)}>${t("retry")}</button>`
        : html`<button class="link" type="button" onClick=${() => attempt(() => copy(letter.content))}>${t("copy")}</button>`}
      <button class="link link--bad" type="button" onClick=${() => takeBack(letter)}>${t("delete")}</button>
    </span>
  </p>`;

/**
 * @param {{message: any, chat: any, me: string, isGroup: boolean, first: boolean, last: boolean, status?: string,
 *   isHit: boolean, isCurrent: boolean, onReply: (m: any) => void, onMenu: (m: any, at: Element) => void}} props
 *   `isCurrent`: the one that Tab leads to.
 */
export const MessageRow = memo(function MessageRow(props) {
  const { message, chat, me, isGroup, first, last, status, isHit, isCurrent } = props;
  const [isNear, setNear] = useState(false); // whether its tools were ever wanted
  const { letter } = message;
  const isMine = message.user === me;
  const isGone = Boolean(message.deleted_at);
  const name = classes("msg", isMine && "msg--own", first && "msg--first", last && "msg--last", isHit && "is-hit",
    isGone && "is-gone", status === "waiting" && "is-waiting", status === "refused" && "is-failed");
  const near = () => setNear(true);
  const files = message.attachments ?? [];
  const text = message.fallback ? "" : message.content; // the names of files are for programs that show none
  const meta = html`<${Meta} message=${message} status=${status} over=${!text && files.every(isSeen)} />`;
  const label = `${isMine ? t("you") : message.user}, ${day(message.timestamp)}, ${clock(message.timestamp)}`;
  return html`
    <li>
      <article class=${name} data-hue=${isMine ? undefined : hue(message.user)} data-id=${message.id} aria-label=${label}
        tabindex=${isCurrent ? 0 : -1} onPointerEnter=${near} onFocusIn=${near}>
        ${isGroup && !isMine && html`<span class="msg__pic">${first && html`<${PersonAvatar} name=${message.user} size="32" still />`}</span>`}
        <div class="bubble">
          ${isGroup && first && !isMine && html`<bdi class="bubble__author one-line">${message.user}</bdi>`}
          ${message.reply_to && !isGone && html`<${Quote} chat=${chat} id=${message.reply_to} me=${me} />`}
          ${isGone
            ? html`<div class="bubble__text"><${Icon} name="trash" size="16" /><span>${t("message_deleted")}</span><time class="meta tnum">${clock(message.timestamp)}</time></div>`
            : html`
              ${files.length > 0 && html`<${Attachments} message=${message} meta=${meta} isBare=${!text && files.every(isSeen)} />`}
              ${text
                ? html`<div class=${classes("bubble__text", isOnlyEmoji(text) && "bubble__text--emoji")} dir="auto"><${Text} text=${text} />${meta}</div>`
                : !files.every(isSeen) && meta}`}
        </div>
        ${isNear && !isGone && !letter && html`
          <span class="msg__tools">
            <${IconButton} icon="reply" label=${t("reply")} tabindex="-1" onClick=${() => props.onReply(message)} />
            <${IconButton} icon="dots" label=${t("more")} tabindex="-1" aria-haspopup="menu" onClick=${(event) => props.onMenu(message, event.currentTarget)} />
          </span>`}
      </article>
      ${status === "refused" && html`<${Fault} letter=${letter} />`}
    </li>`;
});
