// The list of everything that the keyboard does.
import { t } from "../i18n/index.js";
import { TitledDialog, showDialog } from "./dialog.js";
import { html } from "./html.js";

const GROUPS = [
  ["keys_anywhere", [["keys_switch", "Ctrl K"], ["search_messages", "Ctrl ⇧ F"], ["keys_next", "Alt ↑ ↓"], ["keys_unread", "Alt ⇧ ↓"], ["new_chat", "Alt N"], ["keys_help", "?"]]],
  ["keys_writing", [["send", "Enter"], ["keys_line", "⇧ Enter"], ["keys_edit", "↑"], ["keys_cancel", "Esc"], ["keys_to_messages", "⇧ Tab"]]],
  ["keys_messages", [["keys_move", "↑ ↓"], ["keys_ends", "Home End"], ["reply", "R"], ["copy_text", "Ctrl C"], ["unread_from_here", "U"], ["message_menu", "Enter"], ["keys_to_field", "Esc"]]],
];

/** @param {{head?: string}} props The tag of the headings. */
export const Keys = ({ head = "h2" }) => html`
  <div class="keys" tabindex="0">
    ${GROUPS.map(([title, pairs]) => html`
      <${head} class="keys__head">${t(title)}<//>
      ${pairs.map(([key, keys]) => html`<div class="keys__one">${t(key)}<span>${keys.split(" ").map((each) => html`<kbd>${each}</kbd>`)}</span></div>`)}`)}
  </div>`;

export const showKeys = () => showDialog(html`
  <${TitledDialog} title=${t("settings_keys")} extra="dialog--wide"><div class="scroll"><div class="dialog__body"><${Keys} head="h3" /></div></div><//>`);
