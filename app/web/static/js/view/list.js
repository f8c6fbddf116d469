// The list of chats.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { connection } from "../net/stream.js";
import { drafts } from "../state/drafts.js";
import { outbox } from "../state/outbox.js";
import { isUndecided } from "../state/push.js";
import { chatPath, route } from "../state/route.js";
import { openSearch } from "../state/search.js";
import { shared } from "../state/share.js";
import { chats, typing, world } from "../state/world.js";
import { brief } from "../text/time.js";
import { ChatAvatar } from "./avatar.js";
import { typingSentence } from "./around.js";
import { classes, html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { lazy, showNewChat, showSwitcher } from "./lazy.js";
import { memo } from "./memo.js";

const AskForPush = lazy(async () => (await import("./notices.js")).AskForPush);

const STEP = 60; // rows that are drawn; more while somebody scrolls
const ROW_PX = 64;

/** @param {{current?: string}} props The name of the chat that is open. */
export function ChatList({ current }) {
  const [count, setCount] = useState(() => Math.ceil(innerHeight / ROW_PX)); // at first those that are seen
  useEffect(() => setCount(STEP), []);
  const all = chats.value;
  const isLoading = !all.length && !world.value.isListed;
  const onScroll = ({ currentTarget: box }) => {
    if (box.scrollHeight - box.scrollTop - box.clientHeight < 600 && count < all.length) setCount(count + STEP);
  };
  return html`
    <section class="list" aria-label=${t("chats")}>
      <header class="bar bar--top"><h1 class="bar__title">${t("chats")}</h1>
        <${IconButton} icon="search" label=${t("search_messages")} onClick=${() => openSearch()} />
        <${IconButton} icon="compose" label=${t("new_chat")} extra="icon-button--accent" onClick=${showNewChat} /></header>
      <div class="list__find">
        <button class="search-box" type="button" onClick=${showSwitcher}>
          <${Icon} name="search" size="20" /><span class="grow one-line">${t("find_chat")}</span><kbd class="wide-only">Ctrl K</kbd>
        </button>
      </div>
      ${shared.value && html`<p class="note note--calm list__note" role="status"><${Icon} name="share" size="20" /><span>${t("share_choose")}</span></p>`}
      ${!shared.value && connection.value === "live" && all.length > 0 && isUndecided() && html`<${AskForPush} />`}
      <div class="scroll" onScroll=${onScroll} tabindex="-1">
        ${isLoading
          ? html`<${Bones} />`
          : all.length
            ? html`<ul class="rows">${all.slice(0, count).map((chat) => html`<${ChatRow} key=${chat.id} chat=${chat} isCurrent=${chat.name === current} query=${shared.value ? route.value.search : ""}
                draft=${chat.name === current ? undefined : drafts.value[chat.name]} typing=${typing.value[chat.id]} />`)}</ul>`
            : html`<${Nobody} />`}
      </div>
    </section>`;
}

const SHOWN_MAX = 999;
export const badgeText = (count) => (count > SHOWN_MAX ? `${SHOWN_MAX}+` : String(count));

const ChatRow = memo(function ChatRow({ chat, isCurrent, query, draft }) {
  const letters = outbox.value.filter((each) => each.room === chat.name);
  const refused = letters.find((each) => each.state === "refused");
  const { last_message: last } = chat;
  const time = letters.at(-1)?.created_at ?? last?.timestamp;
  return html`
    <li>
      <a class="row" href=${chatPath(chat.name) + query} aria-current=${isCurrent ? "page" : undefined}>
        <span class="row__pic"><${ChatAvatar} chat=${chat} /></span>
        <span class="row__line">
          <span class="row__name"><bdi class="one-line">${chat.display_name}</bdi>${chat.muted && html`<${Icon} name="bell-off" size="16" />`}</span>
          <span class="row__time">${sign(chat, letters)}${time && html`<time datetime=${time}>${brief(time)}</time>`}</span>
        </span>
        <span class="row__line">
          <span class="row__text one-line"><${Preview} chat=${chat} draft=${draft} letters=${letters} refused=${refused} /></span>
          <span class="row__mark">
            ${refused
              ? html`<${Icon} name="alert" size="20" />`
              : chat.unread > 0 && html`<span class=${classes("badge", chat.muted && "badge--muted")} aria-hidden="true">${badgeText(chat.unread)}</span>
                  <span class="off-screen">${t("unread_count", { n: chat.unread })}</span>`}
          </span>
        </span>
      </a>
    </li>`;
});

function sign(chat, letters) {
  if (letters.length) return html`<${Icon} name="clock" size="16" />`;
  if (chat.last_message?.user !== world.peek().me) return null;
  const read = chat.kind === "pair" ? chat.peer_read_id : Math.max(0, ...Object.values(chat.reads ?? {}));
  return html`<${Icon} name=${read >= chat.last_message.id ? "checks" : "check"} size="16" />`;
}

// In this order: who types, what was not sent, a draft, the last message.
function Preview({ chat, draft, letters, refused }) {
  const isTyping = connection.value === "live" && Object.keys(typing.value[chat.id] ?? {}).length > 0;
  if (isTyping) return html`<span class="draft">${chat.kind === "pair" ? t("typing") : typingSentence(chat)}</span>`;
  if (refused) return html`<span class="bad">${t("not_sent")}</span> <bdi>${refused.content}</bdi>`;
  if (letters.length) return html`<bdi>${letters.at(-1).content}</bdi>`;
  if (draft) return html`<span class="draft">${t("draft")}</span> <bdi>${draft.text}</bdi>`;
  const { last_message: last } = chat;
  if (!last) return t("chat_created");
  const isNamed = chat.kind === "group";
  const who = last.user === world.peek().me ? t("you") : last.user;
  return html`${isNamed && html`<b><bdi>${who}</bdi>:</b> `}<${Said} message=${last} />`;
}

// A message in one line; one of files alone by their names or their number.
function Said({ message: { content, fallback, attachments } }) {
  if (!fallback) return html`<bdi>${content}</bdi>`;
  const isPictures = attachments.every(({ type }) => type.startsWith("image/"));
  const text = attachments.length === 1 ? content : isPictures ? t("pictures_count", { n: attachments.length }) : t("files_count", { n: attachments.length });
  return html`<${Icon} name=${isPictures ? "image" : "file"} size="16" /> <bdi>${text}</bdi>`;
}

const Nobody = () => html`
  <div class="empty">
    <${Icon} name="chats" extra="empty__icon" />
    <h2 class="empty__title">${t("quiet")}</h2>
    <p class="empty__text">${t("quiet_text")}</p>
    <button class="button button--main" type="button" onClick=${showNewChat}>${t("new_chat")}</button>
  </div>`;

const WIDTHS = [[45, 75], [30, 60], [60, 90], [45, 45], [30, 75], [60, 60], [45, 90]];

const Bones = () => html`
  <ul class="rows late" aria-hidden="true">
    ${WIDTHS.map(([one, two]) => html`
      <li class="row"><span class="row__pic bone bone--circle"></span>
        <span class="row__line"><span class=${`bone bone--${one} fixed`}></span></span>
        <span class="row__line"><span class=${`bone bone--${two} fixed`}></span></span></li>`)}
  </ul>
  <p class="off-screen" role="status">${t("chats_load")}</p>`;
