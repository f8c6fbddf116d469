// What administrators do: people and invitations.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import * as http from "../net/http.js";
import { go } from "../state/route.js";
import { me, service } from "../state/session.js";
import { copy } from "../text/clipboard.js";
import { moment } from "../text/time.js";
import { ask } from "./ask.js";
import { PersonAvatar } from "./avatar.js";
import { TitledDialog, showDialog } from "./dialog.js";
import { attempt } from "./failure.js";
import { Find } from "./form.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { showMenu } from "./menu.js";
import { Block, Line, Page, SideNav } from "./page.js";
import { toast } from "./toast.js";

const USERS = "/accounts/api/admin/users/";
const INVITATIONS = "/accounts/api/admin/invitations/";

export const TeamNav = ({ section }) => html`
  <${SideNav} title=${t("team")} current=${section} items=${[
    { key: "people", icon: "people", label: t("people"), path: "/team/people" },
    { key: "invitations", icon: "link", label: t("invitations"), path: "/team/invitations" },
  ]} />`;

export const Team = ({ section }) => (section === "invitations" ? html`<${Invitations} />` : html`<${Users} />`);

function Users() {
  const [text, setText] = useState("");
  const [users, setUsers] = useState(undefined);
  const reload = () => attempt(async () => setUsers(await http.get(`${USERS}?q=${encodeURIComponent(text.trim())}`)));
  useEffect(() => void reload(), [text.trim()]);
  const head = html`<a class="button button--main button--small" href="/team/invitations"><${Icon} name="person-plus" size="20" />${t("invite")}</a>`;
  return html`
    <${Page} title=${t("people")} head=${head} up="/team" wide>
      <div class="sheet">
        <${Find} label=${t("name_or_email")} value=${text} onInput=${setText} />
        <table class="table">
          <thead><tr><th>${t("name")}</th><th>${t("email")}</th><th>${t("last_used")}</th><th class="end"><span class="off-screen">${t("actions")}</span></th></tr></thead>
          <tbody>${users?.map((user) => html`<${UserRow} key=${user.id} user=${user} onChanged=${reload} />`)}</tbody>
        </table>
        ${users?.length === 0 && html`<div class="empty"><p class="empty__text" role="status">${t("nothing_found")}</p></div>`}
      </div>
    <//>`;
}

function UserRow({ user, onChanged }) {
  const label = t("actions_for", { name: user.username });
  return html`
    <tr class=${user.is_active ? "" : "is-off"}>
      <td><span class="person"><${PersonAvatar} name=${user.username} size="36" still /><bdi class="one-line">${user.username}</bdi>
        ${user.is_admin && html`<span class="tag tag--accent">${t("admin_small")}</span>`}${!user.is_active && html`<span class="tag tag--danger">${t("deactivated")}</span>`}</span></td>
      <td class="under muted wide-only"><span class="one-line">${user.email}</span></td>
      <td class="under tnum muted">${user.last_used_at ? moment(user.last_used_at) : t("never")}</td>
      <td class="end"><${IconButton} icon="dots" label=${label} aria-haspopup="menu" onClick=${(event) => showMenu(event.currentTarget, userMenu(user, onChanged), label, `${user.username} · ${user.email}`)} /></td>
    </tr>`;
}

function userMenu(user, onChanged) {
  const set = (changes) => async () => {
    await http.patch(`${USERS}${user.id}/`, changes);
    await onChanged();
  };
  const items = [
    { icon: "person", label: t("open_profile"), run: () => go(`/people/${encodeURIComponent(user.username)}`) },
    { icon: "lock", label: t("reset_link"), run: () => attempt(async () => showLink(await http.post(`${USERS}${user.id}/reset-link/`), user.username)) },
    user.is_admin
      ? { icon: "shield", label: t("take_admin"), run: () => attempt(set({ is_admin: false })) }
      : { icon: "shield", label: t("make_admin"), run: () => attempt(set({ is_admin: true })) },
  ];
  if (user.id === me.value.id) return items;
  return [...items, user.is_active
    ? { icon: "block", label: t("deactivate_more"), danger: true, line: true, run: () => ask({ title: t("deactivate", { name: user.username }), text: t("deactivate_text"), yes: t("deactivate_short"), run: set({ is_active: false }) }) }
    : { icon: "check", label: t("activate"), line: true, run: () => attempt(set({ is_active: true })) }];
}

// The path of a link is of this page, whatever the server was told of its own address.
const whole = (link) => new URL(link, location.origin).href;

const Link = ({ link }) => html`
  <div class="copy"><code class="code" tabindex="0">${whole(link)}</code>
    <button class="button button--main" type="button" aria-label=${t("copy")} onClick=${() => attempt(async () => (await copy(whole(link)), toast(t("link_copied"))))}>
      <${Icon} name="copy" size="20" /><span class="wide-only">${t("copy")}</span></button></div>`;

const showLink = ({ link, expires_at }, name) => showDialog(html`
  <${TitledDialog} title=${t("reset_link")} extra="">
    <div class="dialog__body"><p class="muted small">${t("reset_link_text", { name, when: moment(expires_at) })}</p><${Link} link=${link} /><div class="gap"></div></div>
  <//>`);

function Invitations() {
  const [invitations, setInvitations] = useState([]);
  const [made, setMade] = useState(undefined);
  const reload = () => attempt(async () => setInvitations((await http.get(INVITATIONS)).reverse()));
  useEffect(() => void reload(), []);
  const create = () => attempt(async () => {
    setMade(await http.post(INVITATIONS, {}));
    await reload();
  });
  const revoke = (id) => attempt(async () => {
    await http.remove(`${INVITATIONS}${id}/`);
    if (made?.id === id) setMade(undefined);
    await reload();
  });
  const head = html`<button class="button button--main button--small" type="button" onClick=${create}><${Icon} name="plus" size="20" />${t("create")}</button>`;
  const waiting = invitations.filter((each) => !each.used_by);
  const used = invitations.filter((each) => each.used_by);
  return html`
    <${Page} title=${t("invitations")} head=${head} up="/team" wide>
      ${made && html`<${Block} title=${t("new_invitation")}><div class="line line--top"><div class="grow stack">
        <p class="muted small">${t("invitation_text")}</p><${Link} link=${made.link} /></div></div><//>`}
      ${waiting.length > 0 && html`<${Block} title=${t("invitations_wait")}>${waiting.map((each) => html`
        <${Line} key=${each.id} icon="link" text=${t("until", { when: moment(each.expires_at) })} hint=${moment(each.created_at)} right=${html`
          <button class="button button--small button--danger-quiet" type="button" onClick=${() => revoke(each.id)}>${t("revoke")}</button>`} />`)}<//>`}
      ${used.length > 0 && html`<${Block} title=${t("invitations_used")}>${used.map((each) => html`
        <${Line} key=${each.id} icon="check" text=${html`<bdi>${each.used_by}</bdi>`} hint=${t("invited_at", { when: moment(each.created_at) })} />`)}<//>`}
      ${!invitations.length && html`<div class="sheet"><div class="empty"><${Icon} name="link" extra="empty__icon" /><h2 class="empty__title">${t("no_invitations")}</h2>
        <p class="empty__text">${t("no_invitations_text")}</p></div></div>`}
      <p class="block__note">${t(`registration_${service.value.registration}`)}</p>
    <//>`;
}
