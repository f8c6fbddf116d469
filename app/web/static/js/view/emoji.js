// The panel of emoji.
import { useEffect, useRef, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { emoji, findEmoji, recentEmoji, rememberEmoji } from "../text/emoji.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";

const SIGNS = { faces: "smile", gestures: "people", nature: "star", places: "image", things: "bell", signs: "check" };

export function EmojiPanel({ onChoose, onClose }) {
  const [text, setText] = useState("");
  const panel = useRef(null);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) panel.current.querySelector("input").focus();
    const away = (event) => panel.current?.parentElement.contains(event.target) || onClose();
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, []);
  const choose = (sign) => {
    rememberEmoji(sign);
    onChoose(sign);
  };
  const onKey = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    onClose();
  };
  const recent = recentEmoji();
  const groups = text
    ? [{ group: "found", items: findEmoji(text) }]
    : [...(recent.length ? [{ group: "recent", items: recent.map((sign) => ({ sign, words: sign })) }] : []), ...emoji];
  return html`
    <div class="emoji emoji--here" role="dialog" aria-label=${t("emoji")} ref=${panel} onKeyDown=${onKey}>
      <div class="emoji__find">
        <label class="search-box"><${Icon} name="search" size="20" />
          <input class="search-box__input" value=${text} placeholder=${t("emoji_find")} aria-label=${t("emoji_find")}
            onInput=${(event) => setText(event.target.value)} /></label>
      </div>
      <div class="emoji__groups">
        ${emoji.map(({ group }) => html`
          <button type="button" aria-label=${t(`emoji_${group}`)} title=${t(`emoji_${group}`)}
            onClick=${() => panel.current.querySelector(`#emoji-${group}`)?.scrollIntoView()}><${Icon} name=${SIGNS[group]} size="20" /></button>`)}
      </div>
      <div class="scroll" tabindex="-1">
        ${groups.map(({ group, items }) => html`
          <h2 class="emoji__head" id=${`emoji-${group}`}>${items.length ? t(`emoji_${group}`) : t("nothing_found")}</h2>
          <div class="emoji__grid">
            ${items.map(({ sign, words }) => html`
              <button type="button" aria-label=${words} onClick=${() => choose(sign)}>${sign}</button>`)}
          </div>`)}
      </div>
    </div>`;
}
