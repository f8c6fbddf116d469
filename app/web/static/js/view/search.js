// The search in messages, in the place of the list of chats.
import { useEffect, useRef, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { go, route } from "../state/route.js";
import { changeSearch, closeSearch, found, hitPath, look, lookForOlder, search } from "../state/search.js";
import { chatNamed, chats, world } from "../state/world.js";
import { marked } from "../text/found.js";
import { brief } from "../text/time.js";
import { useTitle } from "./attention.js";
import { PersonAvatar } from "./avatar.js";
import { attempt, sentenceOf } from "./failure.js";
import { classes, html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { showMenu } from "./menu.js";

const PAUSE_MS = 250; // after the last letter
const CHATS_MAX = 12;
const AGES = [["7", "week"], ["31", "month"], ["366", "year"]];

export function Search() {
  const wanted = search.value;
  const [failure, setFailure] = useState("");
  const field = useRef(null);
  useTitle(t("search_messages"));
  useEffect(() => {
    if (!wanted.find || matchMedia("(min-width: 45em)").matches) field.current.focus();
    return () => void (found.value = undefined);
  }, []);
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      setFailure("");
      look(wanted, abort.signal).catch((error) => abort.signal.aborted || (setFailure(error.errors?.q?.join(" ") ?? sentenceOf(error)), (found.value = undefined)));
    }, found.peek() ? PAUSE_MS : 0);
    return () => (clearTimeout(timer), abort.abort());
  }, [JSON.stringify(wanted)]);
  return html`
    <section class="list" role="search" aria-label=${t("search_messages")} onKeyDown=${onKey}>
      <header class="bar bar--top">
        <${IconButton} icon="back" label=${t("back_to_chats")} onClick=${closeSearch} />
        <h1 class="off-screen">${t("search_messages")}</h1>
        <label class="search-box">
          <${Icon} name="search" size="20" />
          <input class="search-box__input" id="find" ref=${field} type="text" enterkeyhint="search" autocomplete="off" value=${wanted.find}
            placeholder=${t("search_messages")} aria-label=${t("search_messages")} onInput=${(event) => changeSearch({ find: event.target.value })} />
          ${wanted.find && html`<${IconButton} icon="close" label=${t("clear")} onClick=${() => (changeSearch({ find: "" }), field.current.focus())} />`}
        </label>
      </header>
      <${Filters} wanted=${wanted} />
      <div class="scroll" tabindex="-1"><${Results} wanted=${wanted} failure=${failure} /></div>
    </section>`;
}

// Arrows lead from the field to what was found and back; Escape ends the search.
function onKey(event) {
  const stops = [...event.currentTarget.querySelectorAll("#find, a.hit")];
  const at = stops.indexOf(event.target);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape") closeSearch();
  else if (event.key === "Enter" && at === 0 && !event.isComposing) stops[1]?.click();
  else if (step && at >= 0 && stops[at + step]) stops[at + step].focus();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

/** Of which chat, of whom, how old: each is a button that shows what can be chosen, or takes the choice back. */
function Filters({ wanted }) {
  const of = (key, value, label, run) => ({ icon: wanted[key] === value ? "check" : "", label, run: run ?? (() => changeSearch({ [key]: value })) });
  const people = [world.value.me, ...new Set([...(found.value?.hits ?? []).map((hit) => hit.user), ...membersOf(wanted.in)])]
    .filter((name, at, all) => all.indexOf(name) === at).slice(0, CHATS_MAX);
  return html`
    <div class="filters list__filters">
      <${Filter} name="in" wanted=${wanted} label=${t("filter_chat")} chosen=${chatNamed(wanted.in)?.display_name ?? wanted.in}
        items=${chats.value.slice(0, CHATS_MAX).map((chat) => of("in", chat.name, chat.display_name))} />
      <${Filter} name="from" wanted=${wanted} label=${t("filter_from")} chosen=${wanted.from && t("filter_from_whom", { name: wanted.from })}
        items=${people.map((name) => of("from", name, name === world.value.me ? t("from_me") : name))} />
      <${Filter} name="days" wanted=${wanted} label=${t("filter_when")} chosen=${t(`for_${AGES.find(([days]) => days === wanted.days)?.[1] ?? "year"}`)}
        items=${AGES.map(([days, name]) => of("days", days, t(`for_${name}`)))} />
    </div>`;
}

const membersOf = (room) => {
  const chat = room && chatNamed(room);
  if (!chat) return [];
  return Object.values(world.value.people).filter(({ id }) => chat.members?.includes(id)).map(({ username }) => username);
};

function Filter({ name, wanted, label, chosen, items }) {
  const isSet = Boolean(wanted[name]);
  const onClick = (event) => (isSet ? changeSearch({ [name]: undefined }) : showMenu(event.currentTarget, items, label));
  return html`
    <button class="filter" type="button" aria-pressed=${isSet} aria-haspopup=${isSet ? undefined : "menu"} onClick=${onClick}>
      <bdi class="one-line">${isSet ? chosen : label}</bdi><${Icon} name=${isSet ? "close" : "chevron"} size="16" />
    </button>`;
}

function Results({ wanted, failure }) {
  const result = found.value;
  if (failure) return html`<div class="empty"><p class="empty__text" role="alert">${failure}</p></div>`;
  if (!result) return html`<div class="empty"><${Icon} name="search" extra="empty__icon" /><p class="empty__text">${t("search_hint")}</p></div>`;
  if (!result.hits.length) {
    return html`<div class="empty" role="status"><${Icon} name="search" extra="empty__icon" /><h2 class="empty__title">${t("nothing_found")}</h2>
      <p class="empty__text">${t("search_none_text")}</p></div>`;
  }
  const shown = Number(route.value.parts[2]);
  return html`
    <p class="rows__head pad" role="status">${result.hasOlder ? t("hits_newest", { n: result.hits.length }) : t("hits_count", { n: result.hits.length })}</p>
    ${result.as && html`<p class="small muted pad searched-as">${t("searched_as", { text: result.as })}</p>`}
    <div class="hits">
      ${result.hits.map((hit) => html`<${Hit} key=${hit.id} hit=${hit} q=${result.as ?? wanted.find} isChosen=${hit.id === shown} />`)}
      ${result.hasOlder && html`<button class="button button--small" type="button" onClick=${() => attempt(lookForOlder)}>${t("older_hits")}</button>`}
    </div>`;
}

function Hit({ hit, q, isChosen }) {
  const room = chatNamed(hit.room);
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(hitPath(hit), { replace: Boolean(isChosen) });
  };
  return html`
    <a class=${classes("hit", isChosen && "is-chosen")} href=${hitPath(hit)} aria-current=${isChosen ? "true" : undefined} onClick=${open}>
      <${PersonAvatar} name=${hit.user} size="36" still />
      <span class="hit__head"><span class="one-line"><b><bdi>${hit.user}</bdi></b>${room && room.display_name !== hit.user && html` · <bdi>${room.display_name}</bdi>`}</span>
        <time datetime=${hit.timestamp}>${brief(hit.timestamp)}</time></span>
      <span class="hit__text" dir="auto">${marked(hit.content, q).map((part) => (part.isFound ? html`<mark>${part.text}</mark>` : part.text))}</span>
    </a>`;
}
