// The way between the parts of the page: a rail, on phones tabs.
import { t } from "../i18n/index.js";
import { me } from "../state/session.js";
import { unreadChats } from "../state/world.js";
import { PersonAvatar } from "./avatar.js";
import { html } from "./html.js";
import { Icon, Logo } from "./icons.js";

const TABS = [
  { place: "chat", path: "/", icon: "chats", label: "chats" },
  { place: "posts", path: "/posts", icon: "posts", label: "posts" },
  { place: "people", path: "/people", icon: "people", label: "people" },
  { place: "team", path: "/team/people", icon: "shield", label: "team", isAdmin: true },
];
const BADGE_MAX = 99;

/** @param {{place: string}} props Where somebody is: the first part of the address. */
export function Rail({ place }) {
  const count = unreadChats.value;
  const current = (each) => (each === place ? "page" : undefined);
  return html`
    <nav class="rail" aria-label=${t("sections")}>
      <${Logo} extra="rail__logo" />
      ${TABS.filter((tab) => !tab.isAdmin || me.value.is_admin).map((tab) => html`
        <a class="tab" href=${tab.path} aria-current=${current(tab.place)}>
          <${Icon} name=${tab.icon} /><span>${t(tab.label)}</span>
          ${tab.place === "chat" && count > 0 && html`<span class="badge"><span class="off-screen">${t("unread_chats")}</span>${count > BADGE_MAX ? `${BADGE_MAX}+` : count}</span>`}
        </a>`)}
      <a class="tab tab--last" href="/settings" aria-current=${current("settings")}>
        <${PersonAvatar} name=${me.value.username} still /><span>${t("you")}</span>
      </a>
    </nav>`;
}
