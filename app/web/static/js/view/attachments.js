// Files of a message: pictures, films and sounds in their place, everything else to be downloaded.
import { useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { renew } from "../net/http.js";
import { progress } from "../state/files.js";
import { dropFile } from "../state/outbox.js";
import { bytes, ending } from "../text/sizes.js";
import { attempt } from "./failure.js";
import { classes, html } from "./html.js";
import { Icon } from "./icons.js";
import { showViewer } from "./lazy.js";

const SHOWN_MAX = 4; // pictures of one message
const [WIDTH, HEIGHT] = [416, 352]; // px that one picture has at most

export const isPicture = (file) => file.type.startsWith("image/") && Boolean(file.width);
/** Whether it is seen in the message itself. */
export const isSeen = (file) => isPicture(file) || isFilm(file);
const isFilm = (file) => /^video\/(mp4|webm)$/.test(file.type);
const isSound = (file) => file.type.startsWith("audio/");

/** A picture whose cookie may have ended: then it is asked for once more, with a new one. */
export function Picture({ src, ...rest }) {
  const [isAgain, setAgain] = useState(false);
  const onError = () => !isAgain && attempt(async () => (await renew(), setAgain(true)));
  return html`<img key=${isAgain} src=${src} onError=${onError} ...${rest} />`;
}

/** @param {{message: any, meta: any, isBare: boolean}} props `meta` lies over pictures that have no text: `isBare`. */
export function Attachments({ message, meta, isBare }) {
  const { attachments, letter } = message;
  const seen = attachments.filter(isSeen);
  const others = attachments.filter((file) => !seen.includes(file));
  const shown = seen.slice(0, SHOWN_MAX);
  const name = shown.length === 1 ? "media--one" : `media--many media--${shown.length}`;
  return html`
    ${shown.length > 0 && html`
      <div class=${classes("media", name, isBare && "media--bare")}>
        ${shown.map((file, at) => html`<${Shown} key=${file.id ?? file.key} file=${file} letter=${letter} message=${message} isAlone=${shown.length === 1}
          more=${at === SHOWN_MAX - 1 ? seen.length - SHOWN_MAX : 0} />`)}
        ${isBare && meta}
      </div>`}
    ${others.map((file) => letter
      ? html`<${Waiting} key=${file.key} file=${file} letter=${letter} />`
      : isSound(file)
        ? html`<figure class="sound" key=${file.id}><figcaption class="file__size one-line">${file.name} · ${bytes(file.size)}</figcaption>
            <audio controls preload="none" src=${file.url}></audio></figure>`
        : html`<${Download} key=${file.id} file=${file} />`)}`;
}

function Shown({ file, letter, message, isAlone, more }) {
  const scale = Math.min(1, WIDTH / file.width, HEIGHT / file.height);
  const size = isAlone ? { width: Math.round(file.width * scale), height: Math.round(file.height * scale) } : { width: 208, height: 156 };
  if (letter) {
    const done = progress.value[file.key];
    return html`
      <button class="media__item" type="button" aria-label=${t("cancel_file", { name: file.name })} onClick=${() => dropFile(letter, file.key)}>
        ${isPicture(file) ? html`<img src=${file.url} ...${size} alt="" />` : html`<span class="media__film"></span>`}
        <span class="ring"><${Icon} name="close" /><${Ring} part=${(done ?? 0) / file.size} /></span>
        ${done !== undefined && html`<span class="media__label">${t("so_far", { done: bytes(done), all: bytes(file.size) })}</span>`}
      </button>`;
  }
  if (isFilm(file)) return html`<video class="media__item media__film" controls preload="metadata" src=${file.url} aria-label=${file.name}></video>`;
  return html`
    <button class="media__item" type="button" aria-label=${t("open_picture", { name: file.name })} onClick=${() => showViewer(message, file.id)}>
      <${Picture} src=${file.small ?? file.url} ...${size} alt=${file.name} loading="lazy" />
      ${more > 0 && html`<span class="media__more">+${more}</span>`}
    </button>`;
}

const Ring = ({ part }) => html`
  <svg class="ring__line" viewBox="0 0 52 52" aria-hidden="true"><circle cx="26" cy="26" r="23" pathLength="100" stroke-dasharray=${`${Math.round(part * 100)} 100`} /></svg>`;

const kind = (file) => [bytes(file.size), ending(file.name)].filter(Boolean).join(" · ");

const Download = ({ file }) => html`
  <a class="file" href=${file.url} download=${file.name}>
    <span class="file__sign"><${Icon} name="file" /></span>
    <span class="grow"><span class="off-screen">${t("download")} </span><span class="file__name">${file.name}</span> <span class="file__size">${kind(file)}</span></span>
  </a>`;

function Waiting({ file, letter }) {
  const done = progress.value[file.key];
  const isUnderWay = done !== undefined;
  return html`
    <div class="file">
      <button class="file__sign" type="button" aria-label=${t("cancel_file", { name: file.name })} onClick=${() => dropFile(letter, file.key)}><${Icon} name="close" /></button>
      <span class="grow"><span class="file__name">${file.name}</span>
        ${isUnderWay && html`<progress max=${file.size} value=${done} aria-label=${t("uploaded")}></progress>`}
        <span class="file__size">${isUnderWay ? t("so_far", { done: bytes(done), all: bytes(file.size) }) : kind(file)}</span></span>
    </div>`;
}
