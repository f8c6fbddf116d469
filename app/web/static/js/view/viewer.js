// Pictures over everything: arrows lead from one to the next, Escape closes.
import { useEffect, useRef, useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { chatPath, go } from "../state/route.js";
import { windowOf, world } from "../state/world.js";
import { moment } from "../text/time.js";
import { Picture, isPicture } from "./attachments.js";
import { closeDialog, showDialog } from "./dialog.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";

/** Shows a picture of a message, and with it all pictures that the chat shows. */
export function showViewer(message, fileId) {
  const chat = Object.values(world.peek().chats).find(({ id }) => windowOf(id)?.list.includes(message));
  const messages = chat ? windowOf(chat.id).list : [message];
  const pictures = messages.flatMap((each) => (each.attachments ?? []).filter(isPicture).map((file) => ({ file, message: each })));
  const at = pictures.findIndex(({ file }) => file.id === fileId);
  showDialog(html`<${Viewer} chat=${chat} pictures=${pictures} first=${at} />`);
}

function Viewer({ chat, pictures, first }) {
  const [at, setAt] = useState(first);
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  const { file, message } = pictures[at];
  const move = (step) => pictures[at + step] && setAt(at + step);
  const onKey = (event) => {
    if (event.key === "ArrowRight") move(1);
    else if (event.key === "ArrowLeft") move(-1);
    else return;
    event.preventDefault();
  };
  const showInChat = () => {
    closeDialog();
    go(chatPath(chat.name, message.id));
  };
  return html`
    <dialog class="viewer" ref=${dialog} aria-label=${t("picture_of", { at: at + 1, all: pictures.length })} onKeyDown=${onKey}
      onCancel=${(event) => (event.preventDefault(), closeDialog())}>
      <header class="viewer__bar">
        <span class="grow"><b class="one-line block-line"><bdi>${message.user}</bdi></b>
          <span class="small one-line block-line" role="status">${moment(message.timestamp)} · ${t("so_far", { done: at + 1, all: pictures.length })}</span></span>
        ${chat && html`<${IconButton} icon="chats" label=${t("show_in_chat")} onClick=${showInChat} />`}
        <a class="icon-button" href=${file.url} download=${file.name} aria-label=${t("download_file", { name: file.name, size: "" })} title=${t("download")}><${Icon} name="download" /></a>
        <${IconButton} icon="close" label=${t("close")} autofocus onClick=${closeDialog} />
      </header>
      <div class="viewer__stage">
        <${IconButton} icon="back" label=${t("previous")} disabled=${at === 0} onClick=${() => move(-1)} />
        <${Picture} key=${file.id} src=${file.url} width=${file.width} height=${file.height} alt=${file.name} />
        <${IconButton} icon="forward" label=${t("next")} disabled=${at === pictures.length - 1} onClick=${() => move(1)} />
      </div>
    </dialog>`;
}
