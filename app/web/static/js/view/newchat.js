// New chats and groups.
import { useEffect, useMemo, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { openGroup, setPicture } from "../state/chats.js";
import { findPeople, friends } from "../state/people.js";
import { chatPath, go } from "../state/route.js";
import { online, world } from "../state/world.js";
import { PersonAvatar } from "./avatar.js";
import { TitledDialog, closeDialog, showDialog } from "./dialog.js";
import { attempt } from "./failure.js";
import { Field, Find, Note, useForm } from "./form.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { talkTo } from "./switcher.js";

export const showNewChat = () => showDialog(html`<${NewChat} />`);
export const showNewGroup = () => showDialog(html`<${NewGroup} />`);

/** People whose names fit, as soon as the server has said; oneself is left out. */
export function usePeople(q) {
  const [found, setFound] = useState(undefined);
  useEffect(() => {
    const asked = new AbortController();
    attempt(() => findPeople(q.trim(), 200, asked.signal).then(setFound, (error) => {
      if (error.name !== "AbortError") throw error;
    }));
    return () => asked.abort();
  }, [q.trim()]);
  return found?.filter(({ username }) => username !== world.value.me);
}

/** A row of somebody; `onClick` makes it a button, `mark` stands at its end. */
export function PersonRow({ person, text, mark, onClick, href }) {
  const hint = text ?? (online.value[person.username] ? t("online") : "");
  const inside = html`
    <span class="row__pic"><${PersonAvatar} name=${person.username} image=${person.image} size="36" /></span>
    <span class="row__name"><bdi class="one-line">${person.username}</bdi></span>
    ${hint && html`<span class="row__text one-line">${hint}</span>`}
    ${mark && html`<span class="row__mark">${mark}</span>`}`;
  const name = `row row--small ${hint ? "row--two" : "row--plain"}`;
  if (href) return html`<li><a class=${name} href=${href}>${inside}</a></li>`;
  if (onClick) return html`<li><button class=${name} type="button" onClick=${onClick}>${inside}</button></li>`;
  return html`<li><label class=${name}>${inside}</label></li>`;
}

/** People in two parts: friends first. `row` draws one, `head` is the tag of the headings. */
export function PeopleParts({ people, row, head = "h3" }) {
  const close = people.filter(({ id }) => friends.value.has(id));
  const others = people.filter(({ id }) => !friends.value.has(id));
  return html`
    ${close.length > 0 && html`<${head} class="rows__head pad">${t("friends")}<//><ul class="rows">${close.map(row)}</ul>`}
    ${others.length > 0 && html`<${head} class="rows__head pad">${close.length ? t("all_others") : t("everybody")}<//><ul class="rows">${others.map(row)}</ul>`}`;
}

function NewChat() {
  const [text, setText] = useState("");
  const people = usePeople(text);
  return html`
    <${TitledDialog} title=${t("new_chat")}>
      <${Find} label=${t("name")} value=${text} onInput=${setText} autofocus />
      <div class="scroll" tabindex="-1">
        ${!text && html`<ul class="rows"><li><button class="row row--plain row--small" type="button" onClick=${showNewGroup}>
          <span class="row__pic avatar avatar--36 avatar--group sign"><${Icon} name="people" size="20" /></span>
          <span class="row__name">${t("new_group")}</span><span class="row__mark"><${Icon} name="forward" size="20" /></span></button></li></ul>`}
        ${people && html`<${PeopleParts} people=${people} row=${(person) => html`
          <${PersonRow} key=${person.id} person=${person} onClick=${() => talkTo(person.username)} />`} />`}
        ${people?.length === 0 && html`<div class="empty"><p class="empty__text" role="status">${text ? t("nothing_found") : t("nobody_else")}</p></div>`}
      </div>
    <//>`;
}

function NewGroup() {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState([]);
  const [picture, setImage] = useState(undefined);
  const preview = useMemo(() => picture && URL.createObjectURL(picture), [picture]);
  const clientId = useMemo(() => String(Math.random()).slice(2), []); // a repeated press makes no second group
  const people = usePeople(text);
  const form = useForm(async ({ title }) => {
    const name = await openGroup(title, chosen, clientId);
    if (picture) await attempt(() => setPicture({ name }, picture));
    go(chatPath(name));
    closeDialog();
  });
  const toggle = (name) => setChosen(chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name]);
  return html`
    <${TitledDialog} title=${t("new_group")}>
      <form onSubmit=${form.onSubmit}>
        <div class="dialog__body group-head">
          ${form.note && html`<${Note}>${form.note}<//>`}
          <div class="name-line">
            <label class="avatar avatar--group sign">
              ${preview ? html`<img src=${preview} alt="" />` : html`<${Icon} name="camera" />`}
              <input class="off-screen" type="file" accept="image/*" aria-label=${t("group_picture")} onChange=${(event) => setImage(event.target.files[0])} />
            </label>
            <${Field} name="title" label=${t("group_title")} errors=${form.errors} required maxlength="100" autofocus autocomplete="off" />
          </div>
        </div>
        ${chosen.length > 0 && html`<div class="pills">${chosen.map((name) => html`
          <button class="pill" type="button" aria-label=${t("take_out", { name })} onClick=${() => toggle(name)}>
            <${PersonAvatar} name=${name} size="24" still /><bdi class="one-line">${name}</bdi><${Icon} name="close" size="16" /></button>`)}</div>`}
        <${Find} label=${t("whom_to_add")} value=${text} onInput=${setText} />
        <div class="scroll" tabindex="-1"><ul class="rows">
          ${people?.map((person) => html`<${PersonRow} key=${person.id} person=${person} mark=${html`
            <input class="check" type="checkbox" aria-label=${person.username} checked=${chosen.includes(person.username)} onChange=${() => toggle(person.username)} />`} />`)}
        </ul></div>
        <footer class="dialog__foot dialog__foot--line">
          <span class="muted small grow">${t("members_with_you", { n: chosen.length + 1 })}</span>
          <button class="button button--main" type="submit" disabled=${form.isBusy}>${t("create")}</button>
        </footer>
      </form>
    <//>`;
}
