// The history of a chat. It grows upwards without a jump: the outer box is a reversed column,
// so what is read keeps its distance from the end; what comes below is made up for.
import { Component, createRef } from "preact";

import { t } from "../i18n/index.js";
import { WINDOW_MAX } from "../state/apply.js";
import { loadNewer, loadNewest, loadOlder, trim } from "../state/messages.js";
import { asMessage, outbox } from "../state/outbox.js";
import { windowOf } from "../state/world.js";
import { day } from "../text/time.js";
import { menuFor } from "./actions.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { showMenu } from "./menu.js";
import { MessageRow } from "./message.js";
import { handleKey } from "./roving.js";
import { rowsOf } from "./rows.js";
import { Hello, Ghosts, Typing } from "./around.js";

const END_PX = 24; // nearer than this to the end is at the end
const AHEAD_PX = 800; // history is asked for before it is reached
const HIT_MS = 1200;

/** How a message of one's own stands: with the other, or with anybody of a group. */
function statusOf(message, chat, me) {
  if (message.letter) return message.letter.state;
  if (message.user !== me || message.deleted_at) return undefined;
  const read = chat.kind === "pair" ? chat.peer_read_id : Math.max(0, ...Object.values(chat.reads ?? {}));
  return read >= message.id ? "read" : "sent";
}

// Tab led to a message by its number, or by that of a letter, which its row keeps as its key.
const isNamed = ({ key, message }, name) => String(message.id) === name || key === name;

/**
 * @param {{chat: any, me: string, target?: number, newAfter?: number, composer: any, onEnd: (isAtEnd: boolean) => void,
 *   instance: {current?: Timeline}}} props `instance` is told of this, `target` is the message to lead to, `newAfter` where the divider stands.
 */
export class Timeline extends Component {
  box = createRef();
  state = { isAtEnd: true, hit: undefined, current: undefined };

  componentDidMount() {
    this.props.instance.current = this;
    this.arrive();
  }

  componentWillUnmount() {
    clearTimeout(this.hitTimer);
  }

  // Where what is read stands, before rows come or go.
  getSnapshotBeforeUpdate() {
    if (this.state.isAtEnd) return null;
    const box = this.box.current;
    const top = box.getBoundingClientRect().top;
    for (const row of box.querySelectorAll("[data-id]")) {
      const at = row.getBoundingClientRect();
      if (at.bottom > top) return { row, top: at.top };
    }
    return null;
  }

  componentDidUpdate(before, _, anchor) {
    if (anchor?.row.isConnected) {
      const moved = anchor.row.getBoundingClientRect().top - anchor.top;
      if (Math.abs(moved) > 0.5) this.box.current.scrollTop += moved;
    }
    if (before.target !== this.props.target || (this.isExpected && windowOf(this.props.chat.id)?.list.length)) this.arrive();
    this.look();
  }

  // Leads to the message that the address names, or to what is new.
  arrive() {
    const { target, newAfter, chat } = this.props;
    const box = this.box.current;
    this.isExpected = !windowOf(chat.id)?.list.length;
    if (this.isExpected) return;
    const row = target ? box.querySelector(`[data-id="${target}"]`) : newAfter !== undefined && box.querySelector(".new");
    if (!row) {
      this.isExpected = Boolean(target);
      return;
    }
    // Some of what was read stays above what is new; a message that is led to stands in the middle.
    const place = box.getBoundingClientRect().top + box.clientHeight / (target ? 2 : 4);
    box.scrollTop += row.getBoundingClientRect().top - place;
    if (target) this.flash(target);
  }

  flash(id) {
    this.setState({ hit: id, current: String(id) });
    this.box.current.querySelector(`[data-id="${id}"]`)?.focus({ preventScroll: true });
    clearTimeout(this.hitTimer);
    this.hitTimer = setTimeout(() => this.setState({ hit: undefined }), HIT_MS);
  }

  onScroll = () => {
    const { scrollTop } = this.box.current;
    const isAtEnd = scrollTop > -END_PX && !windowOf(this.props.chat.id)?.newer;
    if (isAtEnd !== this.state.isAtEnd) {
      this.setState({ isAtEnd });
      this.props.onEnd(isAtEnd);
    }
    this.look();
  };

  // Asks for more where there is more, and lets go of what is far away.
  look() {
    const { chat } = this.props;
    const window = windowOf(chat.id);
    const box = this.box.current;
    if (!window?.list.length || window.stale || window.pending || !box) return;
    const above = box.scrollHeight - box.clientHeight + box.scrollTop;
    const isFar = -box.scrollTop > AHEAD_PX;
    if (window.list.length > WINDOW_MAX) trim(chat, isFar ? "oldest" : "newest");
    else if (window.older && above < AHEAD_PX) this.ask(loadOlder);
    else if (window.newer && !isFar) this.ask(loadNewer);
  }

  ask(load) {
    if (this.failedAt > Date.now() - 3000) return;
    load(this.props.chat)?.catch(() => (this.failedAt = Date.now()));
  }

  /** Goes to the newest message. */
  toEnd = async () => {
    const { chat } = this.props;
    if (windowOf(chat.id)?.newer) await loadNewest(chat);
    this.box.current.scrollTop = 0;
  };

  open = (message, at) => {
    const { chat, me, composer } = this.props;
    const isMine = message.user === me;
    const items = menuFor({ chat, message, isMine, composer });
    if (items.length) showMenu(at, items, t("message_menu"), message.content);
  };

  // Without a pointer that hovers, a tap on a bubble opens its menu.
  onClick = (event) => {
    const bubble = event.target.closest(".bubble");
    if (!bubble || event.target.closest("a, button") || matchMedia("(hover: hover)").matches) return;
    if (!String(getSelection())) this.withMessage(bubble, (message) => this.open(message, bubble));
  };

  withMessage(element, action) {
    const id = element.closest("[data-id]")?.dataset.id;
    const message = windowOf(this.props.chat.id)?.list.find((each) => String(each.id) === id);
    if (message) action(message);
  }

  onKeyDown = (event) => handleKey(event, this);

  onFocusIn = (event) => {
    const id = event.target.dataset?.id;
    if (id && id !== this.state.current) this.setState({ current: id });
  };

  reply = (message) => this.props.composer.reply(message);

  render({ chat, me, newAfter }, { hit, current, isAtEnd }) {
    const waiting = outbox.value.filter((each) => each.room === chat.name).map(asMessage);
    const window = windowOf(chat.id) ?? { list: [], older: true, pending: true };
    if (window.pending && !window.list.length && !waiting.length) {
      return html`<div class="timeline-box"><div class="timeline" ref=${this.box}><${Ghosts} /></div></div>`;
    }
    const letters = window.newer ? [] : waiting;
    const known = new Set(window.list.map((each) => each.client_id).filter(Boolean));
    const rows = rowsOf([...window.list, ...letters.filter((each) => !known.has(each.id))], { me, newAfter });
    const tabbed = rows.find((row) => row.message && isNamed(row, current)) ?? rows.at(-1);
    const isGroup = chat.kind === "group";
    return html`
      <div class="timeline-box">
        <div class="timeline" tabindex="-1" ref=${this.box} onScroll=${this.onScroll} onClick=${this.onClick}
          onKeyDown=${this.onKeyDown} onFocusIn=${this.onFocusIn}>
          <div class="timeline__in">
            ${!window.older && html`<${Hello} chat=${chat} isEmpty=${!rows.length} />`}
            <ol class="history" aria-label=${t("history")}>
              ${rows.map((row) => row.kind === "day"
                ? html`<li key=${row.key}><div class="day">${day(row.date)}</div></li>`
                : row.kind === "new"
                  ? html`<li key=${row.key}><div class="new" role="separator">${t("new_messages")}</div></li>`
                  : html`<${MessageRow} key=${row.key} message=${row.message} chat=${row.message.reply_to ? chat : undefined} me=${me}
                      isGroup=${isGroup} first=${row.first} last=${row.last} status=${statusOf(row.message, chat, me)}
                      isHit=${row.message.id === hit} isCurrent=${row === tabbed} onReply=${this.reply} onMenu=${this.open} />`)}
            </ol>
            <${Typing} chat=${chat} />
          </div>
        </div>
        ${(!isAtEnd || window.newer) && html`
          <button class="jump" type="button" onClick=${this.toEnd}
            aria-label=${chat.unread ? t("jump_unread", { n: chat.unread }) : t("jump")}>
            ${chat.unread ? html`<span class="badge">${chat.unread}</span>` : null}<${Icon} name="arrow-down" size="20" />
          </button>`}
      </div>`;
  }
}
