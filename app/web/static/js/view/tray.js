// What is to be sent with a text: pictures and documents above the line of the composer.
import { t } from "../i18n/index.js";
import { FILES_MAX, addFiles, addressOf, isTooLarge, release, removeFile, trayOf } from "../state/files.js";
import { service } from "../state/session.js";
import { bytes } from "../text/sizes.js";
import { classes, html } from "./html.js";
import { Icon } from "./icons.js";
import { toast } from "./toast.js";

/** Puts files into the tray of a room; says if there were too many. */
export function attach(room, files) {
  if (addFiles(room, [...files]) > 0) toast(t("too_many_files", { n: FILES_MAX }));
}

export function Tray({ room }) {
  const files = trayOf(room);
  if (!files.length) return null;
  return html`<ul class="tray" aria-label=${t("attachments")}>${files.map((file) => html`<${Chip} key=${file.key} room=${room} file=${file} />`)}</ul>`;
}

function Chip({ room, file }) {
  const isBad = isTooLarge(file);
  const isPicture = file.type.startsWith("image/") && !isBad;
  const remove = () => {
    removeFile(room, file.key);
    release([file]);
  };
  // The size of a picture is known once it is shown; the message then has its place from the start.
  const measure = ({ currentTarget: { naturalWidth, naturalHeight } }) => Object.assign(file, { width: naturalWidth, height: naturalHeight });
  return html`
    <li class=${classes("chip", !isPicture && "chip--file", isBad && "chip--bad")}>
      ${isPicture
        ? html`<img src=${addressOf(file)} width="80" height="80" alt=${file.name} onLoad=${measure} />`
        : html`<${Icon} name=${isBad ? "alert" : "file"} /><span class="chip__name">${file.name}</span>
            <span class="chip__size">${isBad ? t("too_large", { size: bytes(service.value.upload_bytes) }) : bytes(file.size)}</span>`}
      <button class="chip__off" type="button" aria-label=${t("remove_file", { name: file.name })} onClick=${remove}><${Icon} name="close" size="16" /></button>
    </li>`;
}
