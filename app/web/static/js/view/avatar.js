// A circle is a person, a square with round corners is a group. The name stands beside it.
import { hue, initials } from "../text/names.js";
import { online } from "../state/world.js";
import { pictureAt, pictureOf } from "../state/people.js";
import { classes, html } from "./html.js";

const Avatar = ({ name, seed = name, image, size, group, live, extra }) => html`
  <span class=${classes("avatar", size && `avatar--${size}`, group && "avatar--group", live && "is-online", extra)}
    data-hue=${hue(seed)} aria-hidden="true">
    ${image ? html`<img src=${image} alt="" loading="lazy" />` : initials(name)}
  </span>`;

/** @param {{name: string, image?: string | null, size?: number, still?: boolean}} props `still`: never says who is online. */
export const PersonAvatar = ({ name, image, size, still }) => html`
  <${Avatar} name=${name} size=${size} image=${pictureAt(image) ?? pictureOf(name)} live=${!still && online.value[name]} />`;

export const ChatAvatar = ({ chat, size, still }) =>
  chat.kind === "pair"
    ? html`<${PersonAvatar} name=${chat.display_name} image=${chat.image} size=${size} still=${still} />`
    : html`<${Avatar} name=${chat.display_name} seed=${chat.name} image=${pictureAt(chat.image)} size=${size} group />`;
