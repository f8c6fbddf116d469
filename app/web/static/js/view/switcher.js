// Ctrl+K: to a chat or a person by the first letters.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { openPair } from "../state/chats.js";
import { findPeople } from "../state/people.js";
import { chatPath, go } from "../state/route.js";
import { SEARCH_CHARS_MIN, openSearch } from "../state/search.js";
import { chats, world } from "../state/world.js";
import { ChatAvatar, PersonAvatar } from "./avatar.js";
import { Modal, closeDialog, showDialog } from "./dialog.js";
import { attempt } from "./failure.js";
import { classes, html } from "./html.js";
import { Icon, IconButton } from "./icons.js";

const CHATS_MAX = 8;
const PEOPLE_MAX = 8;

export const showSwitcher = () => showDialog(html`<${Switcher} />`);

/** Opens the chat with somebody, new or old. */
export const talkTo = (username) => attempt(async () => {
  go(chatPath(await openPair(username)));
  closeDialog();
});

const fits = (name, text) => name.toLowerCase().split(/[\s._@+-]+/).some((word) => word.startsWith(text)) || name.toLowerCase().startsWith(text);

function Switcher() {
  const [text, setText] = useState("");
  const [found, setFound] = useState([]);
  const [chosen, setChosen] = useState(0);
  const q = text.trim().toLowerCase();
  useEffect(() => {
    setChosen(0);
    if (!q) return setFound([]);
    const asked = new AbortController();
    findPeople(q, PEOPLE_MAX, asked.signal).then(setFound, () => {}); // chats are found without the server
    return () => asked.abort();
  }, [q]);
  const ofChats = chats.value.filter((chat) => !q || fits(chat.display_name, q)).slice(0, CHATS_MAX)
    .map((chat) => ({ chat, name: chat.display_name, run: () => (go(chatPath(chat.name)), closeDialog()) }));
  const known = new Set(chats.value.filter((chat) => chat.kind === "pair").map((chat) => chat.display_name));
  const ofPeople = found.filter(({ username }) => username !== world.value.me && !known.has(username))
    .map((person) => ({ person, name: person.username, run: () => talkTo(person.username) }));
  const ofMessages = q.length < SEARCH_CHARS_MIN ? [] : [{ name: t("search_for", { text: text.trim() }), run: () => (openSearch({ find: text.trim() }), closeDialog()) }];
  const items = [...ofChats, ...ofPeople, ...ofMessages];
  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && items.length) setChosen((chosen + step + items.length) % items.length);
    else if (event.key === "Enter" && !event.isComposing) items[chosen]?.run();
    else return;
    event.preventDefault();
  };
  const option = (item, at) => html`
    <${Option} key=${item.name} ...${item} q=${q} id=${`option-${at}`} isChosen=${at === chosen} />`;
  return html`
    <${Modal} label=${t("switch")} scrim="top" extra="dialog--wide switcher">
      <div class="search-box">
        <${Icon} name="search" />
        <input class="search-box__input" autofocus value=${text} aria-label=${t("chat_or_person")} placeholder=${t("chat_or_person")} role="combobox" autocomplete="off"
          aria-expanded="true" aria-controls="found" aria-activedescendant=${items.length ? `option-${chosen}` : undefined}
          onInput=${(event) => setText(event.target.value)} onKeyDown=${onKey} />
        <${IconButton} icon="close" label=${t("close")} extra="phone-only" onClick=${closeDialog} /><kbd class="wide-only">Esc</kbd>
      </div>
      <div class="scroll" role="listbox" id="found" aria-label=${t("found")}>
        ${ofChats.length > 0 && html`<h2 class="rows__head pad" role="presentation">${t("chats")}</h2>
          <ul class="rows" role="presentation">${ofChats.map(option)}</ul>`}
        ${ofPeople.length > 0 && html`<h2 class="rows__head pad" role="presentation">${t("people")}</h2>
          <ul class="rows" role="presentation">${ofPeople.map((item, at) => option(item, at + ofChats.length))}</ul>`}
        ${ofMessages.length > 0 && html`<ul class="rows" role="presentation">${ofMessages.map((item) => option(item, items.length - 1))}</ul>`}
      </div>
      ${!items.length && html`<div class="empty"><p class="empty__text" role="status">${t("nothing_found")}</p></div>`}
      <footer class="switcher__foot"><span>↑ ↓ ${t("to_choose")}</span><span>Enter ${t("to_open")}</span><span>Esc ${t("to_close")}</span></footer>
    <//>`;
}

function Option({ chat, person, name, q, id, isChosen, run }) {
  const isOfMessages = !chat && !person;
  const hint = isOfMessages ? "" : person ? t("no_chat_yet") : chat.unread ? t("unread_count", { n: chat.unread }) : chat.kind === "group" ? t("members_count", { n: chat.members_count }) : "";
  return html`
    <li role="presentation">
      <a class=${classes("row row--small", hint ? "row--two" : "row--plain", isChosen && "is-chosen")} role="option" id=${id} aria-selected=${isChosen} onClick=${run}
        ref=${(element) => isChosen && element?.scrollIntoView({ block: "nearest" })}>
        <span class="row__pic">${isOfMessages
          ? html`<${Icon} name="search" />`
          : chat ? html`<${ChatAvatar} chat=${chat} size="36" />` : html`<${PersonAvatar} name=${name} image=${person.image} size="36" />`}</span>
        <span class="row__name"><bdi class="one-line"><${Marked} name=${name} q=${isOfMessages ? "" : q} /></bdi></span>
        ${hint && html`<span class="row__text one-line">${hint}</span>`}
      </a>
    </li>`;
}

/** A name in which what was typed is marked. */
export function Marked({ name, q }) {
  const at = q ? name.toLowerCase().indexOf(q) : -1;
  if (at < 0) return name;
  return html`${name.slice(0, at)}<mark>${name.slice(at, at + q.length)}</mark>${name.slice(at + q.length)}`;
}
