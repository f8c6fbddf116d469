// What a group is: its picture and title, who is in it, what newcomers see.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { addMember, change, members as askMembers, removeMember, setPicture, setRole } from "../state/chats.js";
import { isMe } from "../state/people.js";
import { chatPath, go } from "../state/route.js";
import { ask } from "./ask.js";
import { ChatAvatar } from "./avatar.js";
import { askToLeave, mute } from "./chat.js";
import { TitledDialog, closeDialog, showDialog } from "./dialog.js";
import { attempt } from "./failure.js";
import { Field, Find, Note, useForm } from "./form.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { showMenu } from "./menu.js";
import { PersonRow, usePeople } from "./newchat.js";
import { Act, Side } from "./page.js";
import { talkTo } from "./switcher.js";

const MANY = 12; // members beyond which there is a box to find one

/** @param {{chat: any}} props */
export function GroupSide({ chat }) {
  const [people, setPeople] = useState([]);
  const [text, setText] = useState("");
  const reload = () => attempt(async () => setPeople(await askMembers(chat)));
  useEffect(() => void reload(), [chat.name, chat.members_count, chat.role]);
  const isAdmin = chat.role === "admin";
  const count = t("members_count", { n: chat.members_count });
  const shown = people.filter(({ username }) => username.toLowerCase().includes(text.trim().toLowerCase()));
  return html`
    <${Side} title=${t("about_group")} up=${chatPath(chat.name)}>
      <div class="who who--center">
        <${ChatAvatar} chat=${chat} size="96" />
        <div><h2 class="who__name"><bdi>${chat.display_name}</bdi></h2><p class="who__state">${t("group")} · ${count}</p></div>
        <div class="acts">
          <${Act} icon=${chat.muted ? "bell" : "bell-off"} label=${chat.muted ? t("unmute") : t("mute")} onClick=${() => mute(chat)} />
          <${Act} icon="person-plus" label=${t("add")} onClick=${() => showDialog(html`<${AddMembers} chat=${chat} present=${people} onAdded=${reload} />`)} />
        </div>
      </div>
      ${isAdmin && html`<div class="nav-rows">
        <button class="line slim" type="button" onClick=${() => showDialog(html`<${EditGroup} chat=${chat} />`)}><${Icon} name="edit" /><span class="line__text">${t("title_and_picture")}</span></button>
        <label class="line slim"><${Icon} name="clock" /><span class="line__text">${t("history_for_new")}<span class="line__hint">${chat.history === "all" ? t("history_all") : t("history_joined")}</span></span>
          <input class="switch" type="checkbox" role="switch" checked=${chat.history === "all"} onChange=${(event) => attempt(() => change(chat, { history: event.target.checked ? "all" : "joined" }))} /></label>
      </div>`}
      <h2 class="rows__head pad">${t("members")}<span class="tnum">${chat.members_count}</span></h2>
      ${people.length > MANY && html`<${Find} label=${t("find_member")} value=${text} onInput=${setText} />`}
      <ul class="rows">
        ${shown.map((person) => html`<${PersonRow} key=${person.id} person=${person} mark=${html`<${Role} chat=${chat} person=${person} isAdmin=${isAdmin} onChanged=${reload} />`} />`)}
      </ul>
      <div class="nav-rows"><button class="nav-row nav-row--danger" type="button" onClick=${() => askToLeave(chat)}><${Icon} name="door" />${t("leave_group_short")}</button></div>
    <//>`;
}

function Role({ chat, person, isAdmin, onChanged }) {
  const { username, role } = person;
  const says = [isMe(username) && t("you_small"), role === "admin" && t("admin_small")].filter(Boolean).join(", ");
  return html`
    ${says && html`<span class="tag">${says}</span>`}
    ${!isMe(username) && html`<${IconButton} icon="dots" label=${t("actions_for", { name: username })} aria-haspopup="menu"
      onClick=${(event) => (event.preventDefault(), showMenu(event.currentTarget, memberMenu(chat, person, isAdmin, onChanged), t("actions_for", { name: username }), username))} />`}`;
}

function memberMenu(chat, { username, role }, isAdmin, onChanged) {
  const changed = (action) => () => attempt(async () => {
    await action();
    await onChanged();
  });
  const own = [
    { icon: "chats", label: t("write_short"), run: () => talkTo(username) },
    { icon: "person", label: t("open_profile"), run: () => go(`/people/${encodeURIComponent(username)}`) },
  ];
  if (!isAdmin) return own;
  return [
    ...own,
    role === "admin"
      ? { icon: "shield", label: t("take_admin"), run: changed(() => setRole(chat, username, "member")) }
      : { icon: "shield", label: t("make_admin"), run: changed(() => setRole(chat, username, "admin")) },
    {
      icon: "door", label: t("remove_more"), danger: true, line: true,
      run: () => ask({ title: t("remove_member", { name: username }), text: t("remove_member_text"), yes: t("remove"), run: async () => {
        await removeMember(chat, username);
        await onChanged();
      } }),
    },
  ];
}

function AddMembers({ chat, present, onAdded }) {
  const [text, setText] = useState("");
  const [added, setAdded] = useState([]);
  const inside = new Set([...present.map(({ username }) => username), ...added]);
  const people = usePeople(text);
  const add = (username) => attempt(async () => {
    await addMember(chat, username);
    setAdded([...added, username]);
    await onAdded();
  });
  return html`
    <${TitledDialog} title=${t("whom_to_add")}>
      <${Find} label=${t("name")} value=${text} onInput=${setText} autofocus />
      <div class="scroll" tabindex="-1"><ul class="rows">
        ${people?.map((person) => html`<${PersonRow} key=${person.id} person=${person} mark=${inside.has(person.username)
          ? html`<span class="tag">${t("in_group")}</span>`
          : html`<button class="button button--small" type="button" aria-label=${t("add_person", { name: person.username })} onClick=${() => add(person.username)}>${t("add")}</button>`} />`)}
      </ul></div>
    <//>`;
}

function EditGroup({ chat }) {
  const form = useForm(async ({ title, image }) => {
    if (title !== chat.display_name) await change(chat, { title });
    if (image?.size) await setPicture(chat, image);
    closeDialog();
  });
  return html`
    <${TitledDialog} title=${t("title_and_picture")} extra="">
      <form onSubmit=${form.onSubmit}>
        <div class="dialog__body">
          ${form.note && html`<${Note}>${form.note}<//>`}
          <${Field} name="title" label=${t("group_title")} errors=${form.errors} defaultValue=${chat.display_name} required maxlength="100" autofocus autocomplete="off" />
          <${Field} name="image" type="file" accept="image/*" label=${t("picture")} errors=${form.errors} />
          ${chat.image && html`<button class="button button--danger-quiet" type="button" onClick=${() => attempt(() => setPicture(chat, null))}>${t("remove_picture")}</button>`}
        </div>
        <footer class="dialog__foot"><button class="button button--main" type="submit" disabled=${form.isBusy}>${t("save")}</button></footer>
      </form>
    <//>`;
}
