// The place to write: drafts, replies, edits, and what Enter does.
import { Component, createRef } from "preact";

import { t } from "../i18n/index.js";
import { sendFrame } from "../net/stream.js";
import { drafts, setDraft } from "../state/drafts.js";
import { edit, quoteOf } from "../state/messages.js";
import { write } from "../state/outbox.js";
import { isTooLarge, mayAttach, putBack, takeFiles, trayOf } from "../state/files.js";
import { takeShared } from "../state/share.js";
import { enterSends, showTyping } from "../state/settings.js";
import { windowOf } from "../state/world.js";
import { hue } from "../text/names.js";
import { mayEdit } from "./actions.js";
import { attempt } from "./failure.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { lazy } from "./lazy.js";
import { toast } from "./toast.js";
import { Tray, attach } from "./tray.js";

const CHARS_MAX = 10_000;
const COUNT_FROM = 9_500; // characters from which on those that are left are shown
const TYPING_MS = 3000;
const LINE_MAX_PX = 200;

const EmojiPanel = lazy(async () => (await import("./emoji.js")).EmojiPanel);

/**
 * @param {{chat: any, me: string, isFocused: boolean, onSent: () => void, instance: {current?: Composer}}} props
 *   `isFocused`: whether writing begins at once, where there is a keyboard. `instance` is told of this.
 */
export class Composer extends Component {
  field = createRef();
  picker = createRef();
  state = { text: "", replyTo: undefined, editing: undefined, hasEmoji: false };
  typedAt = 0;

  componentDidMount() {
    this.props.instance.current = this;
    const draft = drafts.peek()[this.props.chat.name];
    if (draft) this.setState({ text: draft.text, replyTo: draft.reply_to });
    const text = takeShared();
    if (text) this.setState({ text: [draft?.text, text].filter(Boolean).join("\n") }, () => this.keep(this.state.text));
    if (this.props.isFocused && matchMedia("(hover: hover)").matches) this.focus();
  }

  focus = () => this.field.current?.focus();

  reply = (message) => {
    this.keep(this.state.text, message.id);
    this.setState({ replyTo: message.id, editing: undefined });
    this.focus();
  };

  edit = (message) => {
    this.setState({ editing: message, text: message.fallback ? "" : message.content });
    this.focus();
  };

  /** Puts something at the place of the caret. */
  insert = (sign) => {
    const field = this.field.current;
    field.focus();
    field.setRangeText(sign, field.selectionStart, field.selectionEnd, "end");
    this.onInput();
  };

  onPick = () => {
    attach(this.props.chat.name, this.picker.current.files);
    this.picker.current.value = "";
    this.focus();
  };

  onPaste = (event) => {
    const { files } = event.clipboardData;
    if (!files.length || this.state.editing || !mayAttach()) return;
    event.preventDefault();
    attach(this.props.chat.name, files);
  };

  keep(text, replyTo = this.state.replyTo) {
    if (!this.state.editing) setDraft(this.props.chat.name, text, replyTo);
  }

  onInput = () => {
    const text = this.field.current.value;
    this.setState({ text });
    this.keep(text);
    if (text.trim() && showTyping.value && Date.now() - this.typedAt > TYPING_MS) {
      this.typedAt = Date.now();
      sendFrame({ type: "typing", room: this.props.chat.name });
    }
  };

  cancel = () => {
    const draft = this.state.editing ? drafts.peek()[this.props.chat.name] : undefined;
    if (!this.state.editing) this.keep(this.state.text, null);
    this.setState({ editing: undefined, replyTo: draft?.reply_to, text: this.state.editing ? draft?.text ?? "" : this.state.text });
    this.focus();
  };

  onSubmit = async (event) => {
    event?.preventDefault();
    const { text, replyTo, editing } = this.state;
    const { chat, onSent } = this.props;
    const hasFiles = !editing && trayOf(chat.name).some((file) => !isTooLarge(file));
    if ((!text.trim() && !hasFiles) || text.length > CHARS_MAX) return;
    this.focus();
    if (editing) {
      if (text === editing.content || (await attempt(() => edit(chat, editing.id, text)))) this.cancel();
      return;
    }
    this.setState({ text: "", replyTo: undefined, hasEmoji: false });
    setDraft(chat.name, "");
    this.typedAt = 0;
    const files = takeFiles(chat.name);
    try {
      await write(chat.name, text, replyTo, files);
    } catch {
      return this.putBack(text, replyTo, files);
    }
    onSent();
  };

  // This device could not keep it, as when its disk is full: it is still there to be sent.
  putBack(text, replyTo, files) {
    toast(t("not_kept"));
    putBack(this.props.chat.name, files);
    this.setState({ text: [text, this.state.text].filter(Boolean).join("\n"), replyTo }, () => this.keep(this.state.text));
  }

  onKeyDown = (event) => {
    if (event.isComposing) return;
    const isEnter = event.key === "Enter" && !event.shiftKey && !event.altKey;
    if (isEnter && (enterSends.value || event.ctrlKey || event.metaKey)) return this.onSubmit(event);
    if (event.key === "Escape" && (this.state.editing || this.state.replyTo)) {
      event.stopPropagation();
      return this.cancel();
    }
    if (event.key === "ArrowUp" && !this.state.text && !event.altKey) this.editLast(event);
  };

  editLast(event) {
    const { chat, me } = this.props;
    const last = windowOf(chat.id)?.list.findLast((message) => mayEdit({ message, isMine: message.user === me }));
    if (!last) return;
    event.preventDefault();
    this.edit(last);
  }

  componentDidUpdate() {
    const field = this.field.current;
    if (CSS.supports("field-sizing", "content") || !field) return;
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight, LINE_MAX_PX)}px`;
  }

  render({ chat, me }, { text, replyTo, editing, hasEmoji }) {
    const left = CHARS_MAX - text.length;
    const isReady = (text.trim() || (!editing && trayOf(chat.name).some((file) => !isTooLarge(file)))) && left >= 0;
    return html`
      <form class="composer" onSubmit=${this.onSubmit}>
        <div class="composer__box">
          ${(editing || replyTo) && html`<${Over} chat=${chat} me=${me} replyTo=${replyTo} editing=${editing} onCancel=${this.cancel} />`}
          ${!editing && html`<${Tray} room=${chat.name} />`}
          <div class="composer__line">
            <textarea class="composer__text" id="composer" rows="1" ref=${this.field} value=${text} dir="auto" placeholder=${t("write")}
              aria-label=${t("write")} onInput=${this.onInput} onKeyDown=${this.onKeyDown} onPaste=${this.onPaste}></textarea>
            ${!editing && mayAttach() && html`<${IconButton} icon="clip" label=${t("attach")} extra="composer__clip" onClick=${() => this.picker.current.click()} />
              <input type="file" multiple hidden ref=${this.picker} onChange=${this.onPick} />`}
            ${text.length > COUNT_FROM && html`<span class="composer__count" role="status">${left}</span>`}
            <${IconButton} icon="smile" label=${t("emoji")} aria-expanded=${hasEmoji} onClick=${() => this.setState({ hasEmoji: !hasEmoji })} />
            <button class="composer__send" type="submit" aria-label=${editing ? t("save") : t("send")} disabled=${!isReady}>
              <${Icon} name=${editing ? "check" : "arrow-up"} />
            </button>
          </div>
        </div>
        ${hasEmoji && html`<${EmojiPanel} onChoose=${this.insert} onClose=${() => (this.setState({ hasEmoji: false }), this.focus())} />`}
      </form>`;
  }
}

// What is answered or edited, over the line.
function Over({ chat, me, replyTo, editing, onCancel }) {
  const quoted = editing ?? quoteOf(chat, replyTo).value;
  const isMine = quoted?.user === me;
  const title = editing ? t("edit_message") : isMine ? t("you") : quoted?.user;
  return html`
    <div class="over" data-hue=${editing || isMine || !quoted ? undefined : hue(quoted.user)}>
      <${Icon} name=${editing ? "edit" : "reply"} />
      <div class="over__body">
        <div class="over__who one-line"><bdi>${title}</bdi></div>
        <div class="over__text one-line" dir="auto">${quoted?.content}</div>
      </div>
      <${IconButton} icon="close" label=${editing ? t("do_not_edit") : t("do_not_reply")} onClick=${onCancel} />
    </div>`;
}
