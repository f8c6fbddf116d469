// Everybody, and somebody's profile.
import { useEffect, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { blocked, friends, isMe, profileOf, setBlocked, setFriend } from "../state/people.js";
import { chats, online } from "../state/world.js";
import { ask } from "./ask.js";
import { PersonAvatar } from "./avatar.js";
import { mute } from "./chat.js";
import { attempt, sentenceOf } from "./failure.js";
import { Find } from "./form.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { PeopleParts, PersonRow, usePeople } from "./newchat.js";
import { Act, Page, Side } from "./page.js";
import { talkTo } from "./switcher.js";

export function People() {
  const [text, setText] = useState("");
  const people = usePeople(text);
  const row = (person) => html`
    <${PersonRow} key=${person.id} person=${person} href=${`/people/${encodeURIComponent(person.username)}`} mark=${html`
      <${IconButton} icon="chats" label=${t("write_to", { name: person.username })} onClick=${(event) => (event.preventDefault(), talkTo(person.username))} />`} />`;
  return html`
    <${Page} title=${t("people")}>
      <div class="sheet people">
        <${Find} label=${t("name")} value=${text} onInput=${setText} />
        ${people && html`<${PeopleParts} people=${people} row=${row} head="h2" />`}
        ${people?.length === 0 && html`<div class="empty"><p class="empty__text" role="status">${text ? t("nothing_found") : t("nobody_else")}</p></div>`}
      </div>
    <//>`;
}

/** Somebody's profile, at the side. @param {{username: string, up: string}} props */
export function Profile({ username, up }) {
  const [profile, setProfile] = useState(undefined);
  const [failure, setFailure] = useState("");
  useEffect(() => {
    setProfile(undefined);
    profileOf(username).then(setProfile, (error) => setFailure(sentenceOf(error)));
  }, [username]);
  if (failure) return html`<${Side} title=${t("profile")} up=${up}><div class="empty"><p class="empty__text">${failure}</p></div><//>`;
  const chat = chats.value.find((each) => each.kind === "pair" && each.display_name === username);
  return html`
    <${Side} title=${t("profile")} up=${up}>
      <div class="who who--center">
        <${PersonAvatar} name=${username} image=${profile?.profile.image} size="96" still />
        <div><h2 class="who__name"><bdi>${username}</bdi></h2><p class="who__state">${online.value[username] ? t("online") : ""}</p></div>
        ${!isMe(username) && html`<${Acts} username=${username} profile=${profile} chat=${chat} />`}
      </div>
      ${profile?.profile.bio && html`<div class="pad-x stack"><p class="who__bio" dir="auto">${profile.profile.bio}</p></div>`}
      <div class="nav-rows">
        ${profile && html`<a class="nav-row" href=${`/posts/by/${encodeURIComponent(username)}`}><${Icon} name="posts" /><span class="grow">${t("posts")}</span>
          <span class="muted tnum">${profile.posts.length}</span></a>`}
        ${!isMe(username) && html`<${BlockRow} username=${username} />`}
      </div>
    <//>`;
}

function Acts({ username, profile, chat }) {
  const isFriend = profile && friends.value.has(profile.id);
  return html`
    <div class="acts">
      <${Act} icon="chats" label=${t("write_short")} onClick=${() => talkTo(username)} />
      <${Act} icon="star" label=${isFriend ? t("unfriend") : t("befriend")} disabled=${!profile} onClick=${() => attempt(() => setFriend(profile, !isFriend))} />
      ${chat && html`<${Act} icon=${chat.muted ? "bell" : "bell-off"} label=${chat.muted ? t("unmute") : t("mute")} onClick=${() => mute(chat)} />`}
    </div>`;
}

function BlockRow({ username }) {
  const isBlocked = blocked.value.has(username);
  const block = () => ask({
    title: t("block_person", { name: username }),
    text: t("block_text"),
    yes: t("block"),
    run: () => setBlocked(username, true),
  });
  return isBlocked
    ? html`<button class="nav-row" type="button" onClick=${() => attempt(() => setBlocked(username, false))}><${Icon} name="block" />${t("unblock")}</button>`
    : html`<button class="nav-row nav-row--danger" type="button" onClick=${block}><${Icon} name="block" />${t("block_more")}</button>`;
}
