"""The frames of streams, made of the rows that `event_queries` reads."""

from collections import OrderedDict
from collections.abc import Mapping, Set
from typing import Any, TypeAlias

from app.database.prepared import AnyRow
from app.http.json import encode
from app.media.store import image_url
from app.messenger.event_queries import READERS_MAX
from app.messenger.schemas import message_bytes
from app.realtime import Event, MembershipChange

Chats: TypeAlias = Mapping[tuple[int, int, int], Mapping[str, Any]]
"""Rooms as single people see them, by event id, room and person."""


def message_frame(number: int, room_name: str, payload: bytes) -> bytes:
    """Return the frame of a new message, which is encoded already."""
    return b'{"type":"message","id":%d,"room":%b,"message":%b}' % (
        number,
        encode(room_name),
        payload,
    )


class MessageFrames:
    """The frames of messages that were read lately: after a restart many read the same ones.

    Args:
        bytes_max: How much is kept; beyond it the frames that were used least recently go.
    """

    def __init__(self, bytes_max: int = 4 * 1024 * 1024) -> None:
        self._bytes_left = bytes_max
        self._kept: OrderedDict[int, tuple[AnyRow, bytes]] = OrderedDict()  # by message id

    def of(self, row: AnyRow) -> bytes:
        """Return the frame of a new message, as the row has it."""
        version = row[1:]  # all of it but the newest event id
        kept, frame = self._kept.pop(row.number, (None, b""))
        if kept != version:
            self._bytes_left += len(frame)
            frame = message_frame(row.number, row.room_name, _payload(row))
            self._bytes_left -= len(frame)
            while self._bytes_left < 0 and self._kept:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._bytes_left += len(oldest)
        self._kept[row.number] = version, frame
        return frame


def _frame(kind: str, row: AnyRow, **values: Any) -> bytes:
    return encode({"type": kind, "id": row.number} | values)


def _payload(row: AnyRow) -> bytes:
    return message_bytes(row.message_id, row.username, *row[-6:])


def _changed_frame(row: AnyRow) -> bytes:
    if row.deleted_at is not None:
        message = {"id": row.message_id, "deleted_at": row.deleted_at}
        return _frame("message_deleted", row, room=row.room_name, message=message)
    return b'{"type":"message_edited","id":%d,"room":%b,"message":%b}' % (
        row.number,
        encode(row.room_name),
        _payload(row),
    )


def _read_frame(row: AnyRow, *, is_own: bool) -> bytes:
    unread = {"unread": row.unread} if is_own else {}
    return _frame("read", row, room=row.room_name, user=row.username, read_id=row.read_id, **unread)


def _room_frame(row: AnyRow, user_id: int, described: Chats, old_name: str | None) -> bytes | None:
    chat = described.get((row.number, row.room_id, user_id))
    # None: they have left since, which has an event of its own.
    return None if chat is None else _frame("room", row, room=old_name or row.room_name, chat=chat)


def _user_frame(row: AnyRow, old_name: str | None) -> bytes:
    user = {"id": row.user_id, "username": row.username, "image": image_url(row.image)}
    was = {} if old_name is None else {"was": old_name}
    return _frame("user", row, user=user, **was)


def is_shown(row: AnyRow) -> bool:
    """Tell whether others than the reader may be told how far somebody has read."""
    return bool(row.show_read and row.readers <= READERS_MAX)


def frame_for(
    user_id: int, row: AnyRow, described: Chats, old_name: str | None = None
) -> bytes | None:
    """Return what one person is told of an event that is no new message; None: nothing.

    Args:
        user_id: Who is told.
        row: The event.
        described: The rooms as people see them.
        old_name: What the person or the room of the event was called before an erasure.
    """
    if row.kind == "changed":
        return _changed_frame(row)
    if row.kind == "user":
        return _user_frame(row, old_name)
    if row.kind == "read":
        is_own = row.user_id == user_id
        return _read_frame(row, is_own=is_own) if is_own or row.readers <= READERS_MAX else None
    if row.kind == "place" and row.left_id is not None:
        return _frame("room_left", row, room=row.room_name)
    return _room_frame(row, user_id, described, old_name)


def event_of(row: AnyRow, told: Set[int], described: Chats, old_name: str | None = None) -> Event:
    """Return an event as a worker delivers it.

    Args:
        row: The event.
        told: Those who get a frame of their own in place of the one for all members.
        described: The rooms as these people see them.
        old_name: What the person or the room of the event was called before an erasure.
    """
    if row.kind == "message":
        payload = _payload(row)
        frame = message_frame(row.number, row.room_name, payload)
        return Event(row.number, row.room_id, frame, payload=payload)
    if row.kind == "changed":
        return Event(row.number, row.room_id, _changed_frame(row), dict.fromkeys(told, b""))
    if row.kind == "read" and is_shown(row):
        frames = dict.fromkeys(told, b"")
        if row.user_id in told:
            frames[row.user_id] = _read_frame(row, is_own=True)
        return Event(row.number, row.room_id, _read_frame(row, is_own=False), frames)
    frames = {user_id: frame_for(user_id, row, described, old_name) or b"" for user_id in told}
    change = None
    if row.kind in ("joined", "place"):
        change = MembershipChange(row.room_id, row.user_id, row.joined_id, row.left_id)
    return Event(row.number, frames=frames, change=change)
