"""The statements that read from the tables what streams have to tell.

Each page covers a range of event ids, so that a question about long ago ends soon whatever has
happened since.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, ColumnClause, Integer, String, Text, column, text

from app.database.prepared import Prepared
from app.database.types import UtcDateTime
from app.messenger.chats import BLOCKED, NEWEST, UNREAD, in_words_of

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
        f" WHERE {_IS_OWN} AND ({_HERE} OR person.deleted_at IS NOT NULL)))",
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
    message.edited_at, message.reply_to_id, message.attachments
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
    column("attachments", Text),
)


def _prepared(dialect: str, parts: Iterable[str]) -> Prepared:
    sql = in_words_of(dialect, _EVENTS, parts=" UNION ALL ".join(parts), at="page.number")
    return Prepared(text(sql).columns(*_COLUMNS))


EVENTS_OF_ALL = {dialect: _prepared(dialect, _ALL) for dialect in _MESSAGES_OF_OWN}
EVENTS_OF_ONE = {
    dialect: _prepared(dialect, [messages, *_OF_ONE])
    for dialect, messages in _MESSAGES_OF_OWN.items()
}
