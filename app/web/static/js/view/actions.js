// What can be done with a message. To add something: one more entry here, and its sentence in i18n.
import { lang, t } from "../i18n/index.js";
import { keepUnread, markUnread, remove } from "../state/messages.js";
import { chatPath, go } from "../state/route.js";
import { service } from "../state/session.js";
import { copy } from "../text/clipboard.js";
import { ask } from "./ask.js";
import { attempt } from "./failure.js";
import { toast } from "./toast.js";

/**
 * @typedef {{chat: any, message: any, isMine: boolean, composer: any}} Context
 * @typedef {{icon: string, label: (context: Context) => string, hint?: string, key?: string, danger?: boolean,
 *   line?: boolean, when?: (context: Context) => boolean, run?: (context: Context) => any}} Action
 *   `hint` is what the menu says of the key; `key` is what the keyboard sends.
 */

/** @type {Action[]} */
export const ACTIONS = [
  {
    icon: "reply",
    label: () => t("reply"),
    hint: "R",
    key: "r",
    run: ({ composer, message }) => composer.reply(message),
  },
  {
    icon: "edit",
    label: () => t("edit"),
    when: (context) => mayEdit(context),
    run: ({ composer, message }) => composer.edit(message),
  },
  {
    icon: "copy",
    label: () => t("copy_text"),
    hint: "Ctrl C",
    run: ({ message }) => attempt(() => copy(message.content)),
  },
  {
    icon: "link",
    label: () => t("copy_link"),
    run: ({ chat, message }) => attempt(async () => {
      await copy(location.origin + chatPath(chat.name, message.id));
      toast(t("link_copied"));
    }),
  },
  {
    icon: "unread",
    label: () => t("unread_from_here"),
    hint: "U",
    key: "u",
    when: ({ isMine }) => !isMine,
    run: ({ chat, message }) => attempt(async () => {
      keepUnread(chat.id);
      await markUnread(chat, message.id);
      go("/");
    }),
  },
  {
    icon: "eye",
    label: ({ chat, message }) => t("read_by", readers(chat, message)),
    when: ({ chat, isMine }) => isMine && chat.kind === "group" && Boolean(chat.reads),
  },
  {
    icon: "trash",
    label: () => t("delete_more"),
    hint: "Del",
    key: "Delete",
    danger: true,
    line: true,
    when: ({ chat, isMine }) => isMine || chat.role === "admin",
    run: ({ chat, message }) => ask({
      title: t("delete_message"),
      text: t("delete_message_text"),
      no: t("keep"),
      yes: t("delete"),
      run: () => remove(chat, message.id),
    }),
  },
];

/** The actions that a message has. */
export const actionsFor = (/** @type {Context} */ context) =>
  context.message.deleted_at ? [] : ACTIONS.filter((action) => action.when?.(context) ?? true);

/** The same as items of a menu. */
export const menuFor = (/** @type {Context} */ context) =>
  actionsFor(context).map(({ icon, label, hint, danger, line, run }) => ({
    icon, label: label(context), key: hint, danger, line, run: run && (() => run(context)),
  }));

/** Whether this person may still change a message; the server has the last word. */
export function mayEdit({ message, isMine }) {
  const seconds = service.value.edit_seconds;
  const isInTime = seconds < 0 || Date.now() - Date.parse(message.timestamp) < seconds * 1000;
  return isMine && !message.deleted_at && isInTime;
}

function readers(chat, message) {
  const read = Object.values(chat.reads ?? {}).filter((id) => id >= message.id).length;
  return { read: read.toLocaleString(lang.value), all: chat.members_count - 1 };
}
