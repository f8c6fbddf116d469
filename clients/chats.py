"""The state of all rooms of a person: the list of chats, and what events change in it.

Nothing here waits or connects; stream.py does.
"""

from collections.abc import Sequence

UNREAD_MAX = 1000


class Chats(dict[int, dict]):
    """Chats by id, each as in `GET chats/`, and `messages`: those that came since it was loaded.

    Args:
        listed: The body of `GET chats/`.
        cursor: Its `X-Event-ID`: what is newer comes by the stream.

    Attributes:
        cursor: The newest event id that is in here.
        me: The person.
    """

    def __init__(self, listed: Sequence[dict] = (), cursor: int = 0) -> None:
        super().__init__({it["id"]: it | {"as_of": cursor, "messages": {}} for it in listed})
        self.cursor, self.me = cursor, {}

    def apply(self, frame: dict) -> dict | None:
        """Apply a frame that has an id.

        Returns:
            The chat whose newest message was deleted, if the one before it is not held here: ask
            for the chat by REST, and set its `last_message`.
        """
        if frame["id"] <= self.cursor:
            return None
        self.cursor = frame["id"]
        chat = next((it for it in self.values() if it["name"] == frame.get("room")), None)
        match frame["type"]:
            case "room":
                new = frame["chat"]
                known = self.get(new["id"], {"joined_id": None})
                is_same = known["joined_id"] == new["joined_id"]
                messages = known["messages"] if is_same else {}
                self[new["id"]] = new | {"as_of": self.cursor, "messages": messages}
            case "user":
                self._change_user(frame["user"], frame.get("was"))
            case "room_left" if chat:
                del self[chat["id"]]
            case "read" if chat:
                self._mark(chat, frame)
            case _ if chat and "message" in frame:
                return self._change(chat, frame["type"], frame["message"])
        return None

    def _mark(self, chat: dict, mark: dict) -> None:
        if mark["user"] == self.me["username"]:
            chat |= {"read_id": mark["read_id"], "unread": mark["unread"], "as_of": self.cursor}
        elif chat["kind"] == "pair":
            chat["peer_read_id"] = mark["read_id"]

    def _change(self, chat: dict, kind: str, message: dict) -> dict | None:
        number, held = message["id"], chat["messages"].get(message["id"])
        is_last = (chat["last_message"] or {}).get("id") == number
        if kind == "message":
            chat["messages"][number] = message
            chat |= {"event_id": number, "last_message": message}
            if message["user"] != self.me["username"] and number > chat["read_id"]:
                chat["unread"] = min(chat["unread"] + 1, UNREAD_MAX)
        elif kind == "message_edited":
            chat["messages"] |= {number: message} if held else {}
            chat["last_message"] = message if is_last else chat["last_message"]
        elif kind == "message_deleted":
            chat["messages"].pop(number, None)
            chat["event_id"] = max(chat["event_id"], number)  # it may have come in an absence
            # A message that came and went during an absence was never counted.
            counted = held["user"] != self.me["username"] if held else number <= chat["as_of"]
            if counted and number > chat["read_id"]:
                chat["unread"] = max(chat["unread"] - 1, 0)
            if is_last:
                chat["last_message"] = next(reversed(chat["messages"].values()), None)
                return None if chat["last_message"] else chat
        return None

    def _change_user(self, user: dict, was: str | None) -> None:
        for chat in self.values():
            is_peer = user["id"] != self.me["id"] and user["id"] in chat.get("members", ())
            if chat["kind"] == "pair" and is_peer:
                chat["image"] = user["image"]
            for message in [*chat["messages"].values(), chat["last_message"]]:
                if message and message["user"] == was:
                    message["user"] = user["username"]
