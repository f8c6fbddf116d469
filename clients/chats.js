// The state of all rooms of a person: the list of chats, and what events change in it. Nothing here waits or connects;
// stream.js does.

const UNREAD_MAX = 1000;

// By id each a chat as in `GET chats/`, and `messages`: a Map of those that came since it was loaded.
export class Chats extends Map {
  // listed: the body of `GET chats/`. cursor: its X-Event-ID; what is newer comes by the stream.
  constructor(listed = [], cursor = 0) {
    super();
    for (const chat of listed) this.set(chat.id, { ...chat, asOf: cursor, messages: new Map() });
    this.cursor = cursor; // the newest event id that is in here
    this.me = {}; // the person
  }

  // Applies a frame that has an id. Returns the chat whose newest message was deleted, if the one before it is not held
  // here: ask for the chat by REST, and set its `last_message`.
  apply({ id, type, room, message, ...frame }) {
    if (id <= this.cursor) return;
    this.cursor = id;
    const chat = [...this.values()].find(({ name }) => name === room);
    if (type === "room") {
      const known = this.get(frame.chat.id);
      const messages = known?.joined_id === frame.chat.joined_id ? known.messages : new Map();
      this.set(frame.chat.id, { ...frame.chat, asOf: id, messages });
    } else if (type === "user") this.#changeUser(frame);
    else if (!chat) return;
    else if (type === "room_left") this.delete(chat.id);
    else if (type === "read" && frame.user === this.me.username) {
      Object.assign(chat, { read_id: frame.read_id, unread: frame.unread, asOf: id });
    } else if (type === "read" && chat.kind === "pair") chat.peer_read_id = frame.read_id;
    else if (message) return this.#change(chat, type, message);
  }

  #change(chat, type, message) {
    const held = chat.messages.get(message.id);
    const isLast = chat.last_message?.id === message.id;
    if (type === "message") {
      chat.messages.set(message.id, message);
      Object.assign(chat, { event_id: message.id, last_message: message });
      if (message.user !== this.me.username && message.id > chat.read_id) chat.unread = Math.min(chat.unread + 1, UNREAD_MAX);
    } else if (type === "message_edited") {
      if (held) chat.messages.set(message.id, message);
      if (isLast) chat.last_message = message;
    } else if (type === "message_deleted") {
      chat.messages.delete(message.id);
      chat.event_id = Math.max(chat.event_id, message.id); // it may have come during an absence
      // A message that came and went during an absence was never counted.
      const wasCounted = held ? held.user !== this.me.username : message.id <= chat.asOf;
      if (wasCounted && message.id > chat.read_id) chat.unread = Math.max(chat.unread - 1, 0);
      if (!isLast) return;
      chat.last_message = [...chat.messages.values()].at(-1) ?? null;
      if (!chat.last_message) return chat;
    }
  }

  #changeUser({ user, was }) {
    for (const chat of this.values()) {
      if (chat.kind === "pair" && user.id !== this.me.id && chat.members.includes(user.id)) chat.image = user.image;
      for (const message of [...chat.messages.values(), chat.last_message]) {
        if (was && message?.user === was) message.user = user.username;
      }
    }
  }
}
