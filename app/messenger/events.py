"""Reads from the tables what streams have to tell. There is no table of events.

A changed row has the event id of its newest change, so what is newer than a number is found in
a few indexes. A change that was overtaken by another one of the same row is not told any more.

Each page covers a range of event ids, so that a question about long ago ends soon whatever
has happened since. A page may be empty, and still not be the last one.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

from sqlalchemy import (
    Boolean,
    ColumnClause,
    Connection,
    Engine,
    Integer,
    String,
    Text,
    column,
    delete,
    select,
    text,
)

from app.database.prepared import AnyRow, Prepared
from app.database.transactions import insert_once, writing
from app.database.types import UtcDateTime
from app.http.json import encode
from app.media.store import image_url
from app.messenger import chats
from app.messenger.chats import BLOCKED, NEWEST, UNREAD, in_words_of
from app.messenger.history import reading_history
from app.messenger.models import Installation, RoomMember
from app.messenger.schemas import message_bytes
from app.realtime import Event, EventPage, FramePage, MembershipChange, Publication

RANGE = 10_000  # event ids that one page looks at
PAGE_MAX = 500  # events of one page
READERS_MAX = 20  # members of a room in which everybody sees how far the others have read

_AFTER = "CAST(:after AS bigint)"
_IN_RANGE = f"> {_AFTER} AND :number <= {_AFTER} + {RANGE}"


def _part(number: str, kind: str, columns: str, source: str) -> str:
    # The second limit is one that PostgreSQL knows when it makes its plan. Of the first one it
    # expects so many rows that it would read whole tables to join them.
    # Each part has its own order and limit: with those of all together, PostgreSQL would read
    # everything that is newer to find the oldest of it.
    in_range = _IN_RANGE.replace(":number", number)
    where = " AND " if " WHERE " in source else " WHERE "
    return f"""
        SELECT * FROM (SELECT * FROM (
            SELECT {number} AS number, '{kind}' AS kind, {columns}
            FROM {source}{where}{number} {in_range}
            ORDER BY {number} LIMIT CAST(:most AS bigint)
        ) AS part LIMIT {PAGE_MAX}) AS few"""


_MESSAGE = (
    "message.room_id, message.user_id, message.id AS message_id, 0 AS joined_id, 0 AS left_id"
)
_MEMBER = "member.room_id, member.user_id, 0 AS message_id, member.joined_id, member.left_id"
_ROOM = "room.id AS room_id, 0 AS user_id, 0 AS message_id, 0 AS joined_id, 0 AS left_id"
_USER = "0 AS room_id, person.id AS user_id, 0 AS message_id, 0 AS joined_id, 0 AS left_id"
_HERE = "member.left_id IS NULL"

# Everything that happens.
_ALL = [
    _part("message.id", "message", _MESSAGE, "messages AS message WHERE deleted_at IS NULL"),
    _part(
        "message.changed_id",
        "changed",
        _MESSAGE,
        "messages AS message WHERE message.changed_id IS NOT NULL",
    ),
    # At `joined_id`, and once more at `changed_id`: a change of a membership must not hide that
    # it is a new one.
    _part("member.joined_id", "joined", _MEMBER, f"memberships AS member WHERE {_HERE}"),
    _part(
        "member.changed_id",
        "place",
        _MEMBER,
        "memberships AS member WHERE member.changed_id <> member.joined_id",
    ),
    _part("member.read_changed_id", "read", _MEMBER, f"memberships AS member WHERE {_HERE}"),
    _part("room.changed_id", "room", _ROOM, "chat_rooms AS room"),
    _part(
        "person.changed_id", "user", _USER, "users AS person WHERE person.changed_id IS NOT NULL"
    ),
]

# What one person is told: of rooms that they are in, what has happened since they joined.
_IS_OWN = "mine.user_id = CAST(:user_id AS bigint) AND mine.left_id IS NULL"
_MESSAGES_OF_OWN = {
    # The walk goes from room to room, and reads in each what is newer: the index has it so.
    "sqlite": f"""
        SELECT message.id AS number, 'message' AS kind, {_MESSAGE}
        FROM memberships AS mine CROSS JOIN messages AS message
            ON message.room_id = mine.room_id
            AND message.id > max({_AFTER}, mine.joined_id)
            AND message.id <= {_AFTER} + {RANGE}
        WHERE {_IS_OWN} AND message.deleted_at IS NULL""",
    "postgresql": f"""
        SELECT message.id AS number, 'message' AS kind, {_MESSAGE}
        FROM memberships AS mine CROSS JOIN LATERAL (
            SELECT room_id, user_id, id FROM messages
            WHERE (room_id, id) > (mine.room_id, greatest({_AFTER}, mine.joined_id))
                AND (room_id, id) <= (mine.room_id, {_AFTER} + {RANGE})
                AND deleted_at IS NULL
            ORDER BY room_id, id LIMIT CAST(:most AS bigint)
        ) AS message
        WHERE {_IS_OWN}""",
}
_IS_MY_PLACE = "member.user_id = CAST(:user_id AS bigint)"
_OF_ONE = [
    _part(
        "message.changed_id",
        "changed",
        _MESSAGE,
        "messages AS message JOIN memberships AS mine ON mine.room_id = message.room_id"
        f" WHERE {_IS_OWN} AND message.id > mine.visible_from"
        " AND message.changed_id > mine.joined_id",
    ),
    _part(
        "member.joined_id",
        "joined",
        _MEMBER,
        f"memberships AS member WHERE {_IS_MY_PLACE} AND {_HERE}",
    ),
    _part(
        "member.changed_id",
        "place",
        _MEMBER,
        f"memberships AS member WHERE {_IS_MY_PLACE} AND member.changed_id <> member.joined_id",
    ),
    _part(
        "member.read_changed_id",
        "read",
        _MEMBER,
        "memberships AS member JOIN memberships AS mine ON mine.room_id = member.room_id"
        " JOIN users AS viewer ON viewer.id = mine.user_id"
        " JOIN users AS other ON other.id = member.user_id"
        f" WHERE {_IS_OWN} AND {_HERE} AND member.read_changed_id > mine.joined_id"
        " AND (viewer.id = other.id OR"
        f" (viewer.show_read AND other.show_read AND NOT {BLOCKED}))",
    ),
    _part(
        "room.changed_id",
        "room",
        _ROOM,
        "chat_rooms AS room JOIN memberships AS mine ON mine.room_id = room.id"
        f" WHERE {_IS_OWN} AND room.changed_id > mine.joined_id",
    ),
    _part(
        "person.changed_id",
        "user",
        _USER,
        "users AS person WHERE person.changed_id IS NOT NULL AND ("
        " person.id = CAST(:user_id AS bigint) OR EXISTS ("
        " SELECT 1 FROM memberships AS mine JOIN memberships AS member"
        " ON member.room_id = mine.room_id AND member.user_id = person.id"
        f" WHERE {_IS_OWN} AND {_HERE}))",
    ),
]

_EVENTS = f"""
WITH page AS (
    SELECT * FROM (
        SELECT * FROM (:parts) AS found ORDER BY number LIMIT CAST(:most AS bigint)
    ) AS few LIMIT {PAGE_MAX}
)
SELECT
    newest.at AS newest, page.number, page.kind, page.room_id, page.user_id, page.message_id,
    page.joined_id, page.left_id, room.name AS room_name, person.username,
    person.show_read, profile.image, member.read_id,
    CASE WHEN page.kind = 'read' THEN {UNREAD} END AS unread,
    CASE WHEN page.kind = 'read' THEN (
        SELECT count(*) FROM (
            SELECT 1 FROM memberships WHERE room_id = page.room_id AND left_id IS NULL
            LIMIT {READERS_MAX + 1}
        ) AS capped
    ) END AS readers,
    message.deleted_at, message.content, message.timestamp, message.client_id,
    message.edited_at, message.reply_to_id
FROM (SELECT {NEWEST} AS at) AS newest
LEFT JOIN page ON true
LEFT JOIN chat_rooms AS room ON room.id = page.room_id
LEFT JOIN users AS person ON person.id = page.user_id
LEFT JOIN profiles AS profile ON profile.user_id = person.id AND page.kind = 'user'
LEFT JOIN memberships AS member
    ON member.room_id = page.room_id AND member.user_id = page.user_id AND page.kind = 'read'
LEFT JOIN messages AS message ON message.id = page.message_id
ORDER BY page.number
"""
_COLUMNS: tuple[ColumnClause[Any], ...] = (
    column("newest", Integer),
    column("number", Integer),
    column("kind", String),
    *(column(name, Integer) for name in ("room_id", "user_id", "message_id")),
    *(column(name, Integer) for name in ("joined_id", "left_id")),
    *(column(name, String) for name in ("room_name", "username")),
    column("show_read", Boolean),
    column("image", String),
    *(column(name, Integer) for name in ("read_id", "unread", "readers")),
    column("deleted_at", UtcDateTime),
    column("content", Text),
    column("timestamp", UtcDateTime),
    column("client_id", String),
    column("edited_at", UtcDateTime),
    column("reply_to_id", Integer),
)


def _prepared(dialect: str, parts: Iterable[str]) -> Prepared:
    sql = in_words_of(dialect, _EVENTS, parts=" UNION ALL ".join(parts), at="page.number")
    return Prepared(text(sql).columns(*_COLUMNS))


_EVENTS_OF_ALL = {dialect: _prepared(dialect, _ALL) for dialect in _MESSAGES_OF_OWN}
_EVENTS_OF_ONE = {
    dialect: _prepared(dialect, [messages, *_OF_ONE])
    for dialect, messages in _MESSAGES_OF_OWN.items()
}


def begin_epoch(engine: Engine) -> None:
    """Begin another life of the database, after it has gone back in time."""
    with writing(engine) as connection:
        connection.execute(delete(Installation))
        insert_once(connection, Installation, id=1, epoch=secrets.token_hex(8))


_Chats: TypeAlias = Mapping[tuple[int, int, int], Mapping[str, Any]]


class MessengerEvents:
    """The events in the tables; fits `realtime.EventSource`.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest_event_id(self) -> int:
        """Return the greatest event id that can be seen."""
        with reading_history(self._engine) as connection:
            return chats.newest_event_id(connection)

    def epoch(self) -> str:
        """Return which life of the database it is: a restore begins another one."""
        query = select(Installation.epoch)
        with reading_history(self._engine) as connection:
            epoch: str | None = connection.scalar(query)
        if epoch is None:
            with writing(self._engine) as connection:
                insert_once(connection, Installation, id=1, epoch=secrets.token_hex(8))
                epoch = connection.scalars(query).one()
        return epoch

    def message_frame(self, publication: Publication) -> bytes | None:
        """Return the frame of a new message; None if it has to be read."""
        if publication.room_name is None or publication.payload is None:
            return None
        return message_frame(publication.id, publication.room_name, publication.payload)

    def members(self, room_id: int) -> Mapping[int, tuple[int, int | None]]:
        """Return `joined_id` and `left_id` of everybody who is or was a member of a room."""
        query = select(RoomMember.user_id, RoomMember.joined_id, RoomMember.left_id)
        with reading_history(self._engine) as connection:
            rows = connection.execute(query.where(RoomMember.room_id == room_id)).all()
        return {user_id: (joined_id, left_id) for user_id, joined_id, left_id in rows}

    def events_after(self, user_id: int, after: int, limit: int) -> FramePage:
        """Return what one person is told after an event id, the oldest of it."""
        limit = min(limit, PAGE_MAX)
        bounds = {"after": after, "most": limit, "user_id": user_id}
        with reading_history(self._engine) as connection:
            rows = _EVENTS_OF_ONE[connection.dialect.name].all(connection, bounds)
            events = [row for row in rows if row.number is not None]
            described = chats.find_chats(
                connection,
                [
                    (row.number, row.room_id, user_id)
                    for row in events
                    if row.kind in ("joined", "room") or _is_member(row)
                ],
            )
        frames = [
            (row.number, frame)
            for row in events
            if (frame := _frame_for(user_id, row, described)) is not None
        ]
        return FramePage(frames, *_reached(rows, after, limit))

    def events_between(self, after: int, limit: int, user_ids: Collection[int]) -> EventPage:
        """Return all events after an event id, the oldest of them, for those who are here."""
        here = frozenset(user_ids)
        limit = min(limit, PAGE_MAX)
        bounds = {"after": after, "most": limit}
        with reading_history(self._engine) as connection:
            rows = _EVENTS_OF_ALL[connection.dialect.name].all(connection, bounds)
            events = [row for row in rows if row.number is not None]
            told = {row.number: _told_of(connection, row, here) for row in events}
            described = chats.find_chats(
                connection,
                [
                    (row.number, row.room_id, user_id)
                    for row in events
                    if row.kind in ("joined", "room") or _is_member(row)
                    for user_id in told[row.number]
                ],
            )
        return EventPage(
            [_event(row, told[row.number], described) for row in events],
            *_reached(rows, after, limit),
        )


def _is_member(row: AnyRow) -> bool:
    return bool(row.kind == "place" and row.left_id is None)


def _reached(rows: Sequence[AnyRow], after: int, limit: int) -> tuple[int, bool]:
    newest: int = rows[0].newest
    up_to = rows[-1].number if len(rows) == limit and rows[-1].number else after + RANGE
    if up_to >= newest:
        return max(newest, after), True
    return up_to, False


# Who is told


def _told_of(connection: Connection, row: AnyRow, here: Set[int]) -> Set[int]:
    # The people here who get a frame of their own.
    if row.kind == "room":
        return here & _members_at(connection, row)
    if row.kind == "user":
        return here & _acquainted(connection, row.user_id)
    if row.kind == "read":
        # Their own devices are told what is unread, and those are told nothing who may not know.
        hidden = _hidden_from(connection, row) if _is_shown(row) else frozenset()
        return here & (hidden | {row.user_id})
    if row.kind in ("joined", "place"):
        return here & {row.user_id}
    if row.kind == "changed":
        return here & _kept_from(connection, row)
    return frozenset()


def _members_at(connection: Connection, row: AnyRow) -> Set[int]:
    query = select(RoomMember.user_id).where(
        RoomMember.room_id == row.room_id,
        RoomMember.left_id.is_(None),
        RoomMember.joined_id < row.number,
    )
    return set(connection.scalars(query))


def _kept_from(connection: Connection, row: AnyRow) -> Set[int]:
    # Members to whom a message is hidden that was said before they came.
    query = select(RoomMember.user_id).where(
        RoomMember.room_id == row.room_id, RoomMember.visible_from >= row.message_id
    )
    return set(connection.scalars(query))


_HIDDEN = Prepared(
    text(f"""
    SELECT member.user_id FROM memberships AS member
    JOIN users AS viewer ON viewer.id = member.user_id
    JOIN users AS other ON other.id = CAST(:user_id AS bigint)
    WHERE member.room_id = CAST(:room_id AS bigint)
        AND (NOT viewer.show_read OR {BLOCKED})
""")
)


def _is_shown(row: AnyRow) -> bool:
    # Whether others than the reader may be told how far somebody has read.
    return bool(row.show_read and row.readers <= READERS_MAX)


def _hidden_from(connection: Connection, row: AnyRow) -> Set[int]:
    rows = _HIDDEN.all(connection, {"user_id": row.user_id, "room_id": row.room_id})
    return {user_id for (user_id,) in rows}


_ACQUAINTED = Prepared(
    text("""
    SELECT DISTINCT other.user_id FROM memberships AS own
    JOIN memberships AS other ON other.room_id = own.room_id AND other.left_id IS NULL
    WHERE own.user_id = CAST(:user_id AS bigint) AND own.left_id IS NULL
""")
)


def _acquainted(connection: Connection, user_id: int) -> Set[int]:
    rows = _ACQUAINTED.all(connection, {"user_id": user_id})
    return {user_id, *(other_id for (other_id,) in rows)}


# Frames


def message_frame(number: int, room_name: str, payload: bytes) -> bytes:
    """Return the frame of a new message, which is encoded already."""
    return b'{"type":"message","id":%d,"room":%b,"message":%b}' % (
        number,
        encode(room_name),
        payload,
    )


def _frame(kind: str, row: AnyRow, **values: Any) -> bytes:
    return encode({"type": kind, "id": row.number} | values)


def _payload(row: AnyRow) -> bytes:
    return message_bytes(row.message_id, row.username, *row[-5:])


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


def _room_frame(row: AnyRow, user_id: int, described: _Chats) -> bytes | None:
    chat = described.get((row.number, row.room_id, user_id))
    # None: they have left since, which has an event of its own.
    return None if chat is None else _frame("room", row, room=row.room_name, chat=chat)


def _user_frame(row: AnyRow) -> bytes:
    user = {"id": row.user_id, "username": row.username, "image": image_url(row.image)}
    return _frame("user", row, user=user)


def _frame_for(user_id: int, row: AnyRow, described: _Chats) -> bytes | None:
    # What one person is told of an event of theirs.
    if row.kind == "message":
        return message_frame(row.number, row.room_name, _payload(row))
    if row.kind == "changed":
        return _changed_frame(row)
    if row.kind == "user":
        return _user_frame(row)
    if row.kind == "read":
        is_own = row.user_id == user_id
        return _read_frame(row, is_own=is_own) if is_own or row.readers <= READERS_MAX else None
    if row.kind == "place" and row.left_id is not None:
        return _frame("room_left", row, room=row.room_name)
    return _room_frame(row, user_id, described)


def _event(row: AnyRow, told: Set[int], described: _Chats) -> Event:
    if row.kind == "message":
        payload = _payload(row)
        frame = message_frame(row.number, row.room_name, payload)
        return Event(row.number, row.room_id, frame, payload=payload)
    if row.kind == "changed":
        return Event(row.number, row.room_id, _changed_frame(row), dict.fromkeys(told, b""))
    if row.kind == "read" and _is_shown(row):
        frames = dict.fromkeys(told, b"")
        if row.user_id in told:
            frames[row.user_id] = _read_frame(row, is_own=True)
        return Event(row.number, row.room_id, _read_frame(row, is_own=False), frames)
    frames = {user_id: _frame_for(user_id, row, described) or b"" for user_id in told}
    change = None
    if row.kind in ("joined", "place"):
        change = MembershipChange(row.room_id, row.user_id, row.joined_id, row.left_id)
    return Event(row.number, frames=frames, change=change)
