// Which view stands where, for each address of the page.
import { useEffect, useRef } from "preact/hooks";

import { lang, t } from "../i18n/index.js";
import { connection } from "../net/stream.js";
import { findPeople, loadRelations } from "../state/people.js";
import { renew } from "../state/push.js";
import { follow, route } from "../state/route.js";
import { search } from "../state/search.js";
import { askService, identify, me, status } from "../state/session.js";
import { account, loadSettings } from "../state/settings.js";
import { start, stop } from "../state/sync.js";
import { chatNamed } from "../state/world.js";
import { Announcements } from "./announce.js";
import { Banner } from "./banner.js";
import { Dialogs } from "./dialog.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { lazy } from "./lazy.js";
import { ChatList } from "./list.js";
import { Menus } from "./menu.js";
import { Rail } from "./rail.js";
import { Toasts } from "./toast.js";

const loadChatView = async () => (await import("./chat.js")).ChatView;
const ChatView = lazy(loadChatView);
const Gate = lazy(async () => (await import("./gate.js")).Gate);
const GroupSide = lazy(async () => (await import("./group.js")).GroupSide);
const People = lazy(async () => (await import("./people.js")).People);
const Profile = lazy(async () => (await import("./people.js")).Profile);
const Posts = lazy(async () => (await import("./posts.js")).Posts);
const WritePost = lazy(async () => (await import("./posts.js")).WritePost);
const Search = lazy(async () => (await import("./search.js")).Search);
const Settings = lazy(async () => (await import("./settings.js")).Settings);
const SettingsNav = lazy(async () => (await import("./settings.js")).SettingsNav);
const Team = lazy(async () => (await import("./admin.js")).Team);
const TeamNav = lazy(async () => (await import("./admin.js")).TeamNav);

const GATES = ["invite", "reset", "setup"]; // links that lead in also whoever is logged in

export function App() {
  const { parts, hash } = route.value;
  useEffect(() => void (document.documentElement.lang = lang.value), [lang.value]);
  const isOut = status.value === "out" || GATES.includes(parts[0]);
  if (status.value === "unknown") return null;
  return html`
    <a class="skip" href="#main">${t("skip")}</a>
    <div class="contents" onClick=${follow}>
      ${isOut ? html`<${Gate} place=${parts[0]} hash=${hash} />` : html`<${Shell} key=${me.value.id} parts=${parts} />`}
      <${Dialogs} />
    </div>
    <${Toasts} />`;
}

/** What each place shows: a list, the main part, something at the side. */
const PLACES = {
  chat: ([, name, rest]) => {
    const chat = name && chatNamed(name);
    const isAbout = rest === "about" && chat;
    return {
      list: search.value ? html`<${Search} />` : html`<${ChatList} current=${name} />`,
      main: name ? html`<${ChatView} name=${name} target=${Number(rest) || undefined} />` : html`<${NoChat} />`,
      side: isAbout && (chat.kind === "group"
        ? html`<${GroupSide} chat=${chat} />`
        : html`<${Profile} username=${chat.display_name} up=${`/chat/${encodeURIComponent(name)}`} />`),
      show: isAbout ? "side" : name ? "main" : "list",
    };
  },
  posts: ([, what, id]) => what === "write"
    ? { main: html`<${WritePost} key=${id} id=${Number(id) || undefined} />`, show: "main" }
    : { main: html`<${Posts} author=${what === "mine" ? me.value.username : what === "by" ? id : undefined} />`, show: "main", tabs: true },
  people: ([, username]) => ({
    main: html`<${People} />`,
    side: username && html`<${Profile} username=${username} up="/people" />`,
    show: username ? "side" : "main",
    tabs: !username,
  }),
  settings: ([, section]) => ({
    list: html`<${SettingsNav} section=${section} />`, main: html`<${Settings} section=${section} />`, show: section ? "main" : "list",
  }),
  team: ([, section]) => ({
    list: html`<${TeamNav} section=${section} />`, main: html`<${Team} section=${section} />`, show: section ? "main" : "list",
  }),
};

function Shell({ parts }) {
  useEffect(() => {
    start(me.value.username);
    return stop;
  }, []);
  const isLive = connection.value === "live";
  useEffect(() => {
    if (!isLive || account.peek()) return;
    // What can wait until chats are seen. Who presses Ctrl+K types on at once, so the switcher is there by then.
    const loads = [identify, askService, loadRelations, loadSettings, renew, loadChatView, () => findPeople(), () => import("./switcher.js")];
    for (const load of loads) load().catch(() => {}); // the next connection asks again
  }, [isLive]);
  const place = PLACES[parts[0]] ? parts[0] : "chat";
  const { list, main, side, show, tabs } = PLACES[place](PLACES[parts[0]] ? parts : []);
  useFocusOn(show);
  return html`
    <div class="app" data-show=${show} data-tabs=${tabs || show === "list" ? "" : undefined} data-list=${list ? undefined : "none"}>
      <${Banner} /><${Rail} place=${place} />
      <main class="contents">${list}${main}${side}<${Menus} /></main>
    </div>
    <${Announcements} />`;
}

const PANES = { list: ".list", main: "#main", side: ".side" };

// On a phone what had the focus goes with its pane; it is then on the pane that has come.
function useFocusOn(show) {
  const before = useRef(show);
  useEffect(() => {
    if (before.current === show) return;
    before.current = show;
    let timer;
    const look = () => {
      const pane = document.querySelector(PANES[show]);
      if (!pane) return (timer = setTimeout(look, 50)); // its view is being loaded
      if (document.activeElement !== document.body && document.activeElement.getClientRects().length) return;
      pane.tabIndex = -1;
      pane.focus({ preventScroll: true });
    };
    look();
    return () => clearTimeout(timer);
  }, [show]);
}

const NoChat = () => html`
  <div class="main" id="main"><div class="empty"><${Icon} name="chats" extra="empty__icon" />
    <h2 class="empty__title">${t("choose_chat")}</h2><p class="empty__text">${t("choose_chat_text")}</p></div></div>`;
