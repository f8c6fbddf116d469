// An open chat: its head, its history, the place to write.
import { useEffect, useRef, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { Problem } from "../net/http.js";
import { connection } from "../net/stream.js";
import { change, leave } from "../state/chats.js";
import { FILES_MAX, mayAttach } from "../state/files.js";
import { loadAround, loadFrom, loadNewest } from "../state/messages.js";
import { outbox } from "../state/outbox.js";
import { blocked, knowPeople, setBlocked } from "../state/people.js";
import { back, chatPath, go, route } from "../state/route.js";
import { openSearch, searchAt } from "../state/search.js";
import { me, service } from "../state/session.js";
import { chatNamed, online, people, typing, windowOf, world } from "../state/world.js";
import { bytes } from "../text/sizes.js";
import { useAnnouncements } from "./announce.js";
import { ask } from "./ask.js";
import { ChatAvatar } from "./avatar.js";
import { useReading, useTitle } from "./attention.js";
import { Composer } from "./composer.js";
import { attempt } from "./failure.js";
import { classes, html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { showMenu } from "./menu.js";
import { attach } from "./tray.js";
import { Timeline } from "./timeline.js";
import { typingSentence } from "./around.js";

const FAR = 40; // unread messages beyond which the history begins at the first of them

/** @param {{name: string, target?: number}} props `target`: the message that the address names. */
export function ChatView({ name, target }) {
  const chat = chatNamed(name);
  if (chat) return html`<${OpenChat} key=${chat.id} chat=${chat} target=${target} />`;
  if (!world.value.isListed) return html`<div class="main" id="main"></div>`;
  return html`
    <div class="main" id="main">
      <header class="bar phone-only"><${IconButton} icon="back" label=${t("back")} onClick=${() => back("/")} /></header>
      <div class="empty"><${Icon} name="chats" extra="empty__icon" />
        <h2 class="empty__title">${t("no_such_chat")}</h2><p class="empty__text">${t("no_such_chat_text")}</p></div>
    </div>`;
}

function OpenChat({ chat, target }) {
  const [isAtEnd, setAtEnd] = useState(true);
  const [newAfter] = useState(chat.unread ? chat.read_id : undefined);
  const isWritten = outbox.value.some((each) => each.room === chat.name); // what waits is shown in any case
  const [failure, load] = useHistory(chat, target);
  const composer = useRef(null);
  const timeline = useRef(null);
  useReading(chat, isAtEnd);
  useAnnouncements(chat);
  useTitle(chat.display_name);
  useEffect(() => {
    if (chat.members) knowPeople(chat.members).catch(() => {}); // letters stand for pictures
  }, [String(chat.members)]);
  // What messages ask of the composer, whichever stands there.
  const hand = useRef({
    reply: (message) => composer.current?.reply(message),
    edit: (message) => composer.current?.edit(message),
    focus: () => composer.current?.focus(),
  }).current;
  const [isOver, drop] = useDrop((files) => {
    attach(chat.name, files);
    composer.current?.focus();
  });
  const isBlocked = chat.kind === "pair" && blocked.value.has(chat.display_name);
  return html`
    <section class="main" id="main" aria-label=${chat.display_name} ...${isBlocked || !mayAttach() ? {} : drop}>
      ${isOver && html`<div class="drop"><${Icon} name="image" extra="empty__icon" /><span>${t("drop_here")}</span>
        <span class="small muted">${t("drop_limits", { n: FILES_MAX, size: bytes(service.value.upload_bytes) })}</span></div>`}
      <${Head} chat=${chat} />
      ${failure && !isWritten
        ? html`<${Failed} failure=${failure} onRetry=${load} />`
        : html`<${Timeline} instance=${timeline} chat=${chat} me=${me.value.username} target=${target} newAfter=${newAfter} composer=${hand} onEnd=${setAtEnd} />`}
      ${isBlocked
        ? html`<div class="composer"><div class="composer__box composer__note">${t("you_blocked")} <button class="link" type="button"
            onClick=${() => attempt(() => setBlocked(chat.display_name, false))}>${t("unblock")}</button></div></div>`
        : html`<${Composer} instance=${composer} chat=${chat} isFocused=${!target} me=${me.value.username} onSent=${() => timeline.current?.toEnd()} />`}
    </section>`;
}

/** Whether files are held over something, and what it listens to for them. */
function useDrop(onFiles) {
  const [isOver, setOver] = useState(false);
  const hasFiles = (event) => event.dataTransfer.types.includes("Files");
  return [isOver, {
    onDragOver: (event) => hasFiles(event) && (event.preventDefault(), setOver(true)),
    onDragLeave: (event) => !event.currentTarget.contains(event.relatedTarget) && setOver(false),
    onDrop: (event) => {
      setOver(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      onFiles(event.dataTransfer.files);
    },
  }];
}

// Asks for the history that is to be seen, and again after it may have got gaps.
function useHistory(chat, target) {
  const [failure, setFailure] = useState(undefined);
  const window = windowOf(chat.id);
  const isShown = Boolean(target) && window?.list.some((each) => each.id === target);
  const isNeeded = target ? !isShown : !window || window.stale || (!window.list.length && !window.pending);
  const isDone = window && !window.stale && !window.list.length && !window.older;
  const load = async () => {
    setFailure(undefined);
    try {
      if (target) await loadAround(chat, target).catch((error) => notThere(error, chat));
      else if (chat.unread > FAR) await loadFrom(chat, chat.read_id);
      else await loadNewest(chat);
    } catch (error) {
      const isEmpty = !windowOf(chat.id)?.list.length;
      if (isEmpty) setFailure(error);
    }
  };
  const isLive = connection.value === "live";
  useEffect(() => {
    if (isNeeded && !isDone) load();
  }, [chat.id, target, Boolean(window?.stale), isLive]);
  return [window?.list.length ? undefined : failure, load];
}

// A link to a message that is gone leads to the end of the chat.
function notThere(error, chat) {
  if (!(error instanceof Problem)) throw error;
  go(chatPath(chat.name) + route.peek().search, { replace: true });
}

const Failed = ({ failure, onRetry }) => html`
  <div class="timeline-box"><div class="empty">
    <${Icon} name="offline" extra="empty__icon" />
    <h2 class="empty__title">${t("history_failed")}</h2>
    <p class="empty__text">${t("history_failed_text")} ${failure.requestId && t("request_id", { id: failure.requestId })}</p>
    <button class="button" type="button" onClick=${onRetry}><${Icon} name="retry" size="20" />${t("load_again")}</button>
  </div></div>`;

/** What is said of a chat below its name, and whether it is of this moment. */
function stateOf(chat) {
  const isLive = connection.value === "live";
  const isTyping = isLive && Object.keys(typing.value[chat.id] ?? {}).length > 0;
  if (chat.kind === "pair") {
    if (isTyping) return [t("typing"), true];
    return [isLive && online.value[chat.display_name] ? t("online") : "", false];
  }
  if (isTyping) return [typingSentence(chat), true];
  const here = Object.values(people.value).filter(({ id, username }) => chat.members?.includes(id) && online.value[username]);
  const count = t("members_count", { n: chat.members_count });
  return [isLive && here.length ? `${count}, ${t("online_count", { n: here.length })}` : count, false];
}

function Head({ chat }) {
  const [state, isLive] = stateOf(chat);
  const about = `${chatPath(chat.name)}/about`;
  return html`
    <header class="bar">
      <${IconButton} icon="back" label=${t("back")} extra="bar__back" onClick=${() => go(searchAt() ?? "/")} />
      <h1 class="contents"><button class="bar__who" type="button" onClick=${() => go(about)}>
        <${ChatAvatar} chat=${chat} size="36" />
        <span class="grow">
          <span class="bar__name one-line block-line" dir="auto"><bdi>${chat.display_name}</bdi></span>
          <span class=${classes("bar__state one-line", isLive && "bar__state--live")}>${state}</span>
        </span>
      </button></h1>
      <${IconButton} icon="search" label=${t("search_here")} onClick=${() => openSearch({ in: chat.name })} />
      <${IconButton} icon="dots" label=${t("more")} aria-haspopup="menu"
        onClick=${(event) => showMenu(event.currentTarget, chatMenu(chat), t("chat_menu"), chat.display_name)} />
    </header>`;
}

export const mute = (chat) => attempt(() => change(chat, { muted: !chat.muted }));

/** What can be done with a chat. */
function chatMenu(chat) {
  const isGroup = chat.kind === "group";
  return [
    { icon: "info", label: isGroup ? t("about_group") : t("profile"), run: () => go(`${chatPath(chat.name)}/about`) },
    { icon: chat.muted ? "bell" : "bell-off", label: chat.muted ? t("unmute") : t("mute"), run: () => mute(chat) },
    ...(isGroup ? [{ icon: "door", label: t("leave_more"), danger: true, line: true, run: () => askToLeave(chat) }] : []),
  ];
}

export const askToLeave = (chat) => ask({
  title: t("leave_group"),
  text: t("leave_group_text"),
  no: t("stay"),
  yes: t("leave"),
  run: async () => {
    await leave(chat);
    go("/");
  },
});
