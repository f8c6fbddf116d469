"""The list of chats: each of one's rooms with what is unread there, and its newest message.

A chat is described as it was at an event id. A frame that comes with this number must not count
what the same stream brings afterwards, and a list that was read in one statement is exactly what
all events up to the newest one have made of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnClause, Connection, Integer, String, Text, column, text

from app.database.prepared import AnyRow, Prepared
from app.database.types import UtcDateTime
from app.http.json import encode
from app.media.store import image_url
from app.messenger.members import RoomNotFound
from app.messenger.schemas import message_out

UNREAD_MAX = 1_000  # that are counted
MEMBERS_MAX = 100  # of a room whose chat names them all

# The newest event id: the ends of seven indexes. The sequence itself would be quicker, and
# wrong: it counts what was rolled back.
NEWEST = """(
    SELECT :greatest(
        coalesce((SELECT max(id) FROM messages), 0),
        coalesce((SELECT max(changed_id) FROM messages WHERE changed_id IS NOT NULL), 0),
        coalesce((SELECT max(changed_id) FROM chat_rooms), 0),
        coalesce((SELECT max(joined_id) FROM memberships), 0),
        coalesce((SELECT max(changed_id) FROM memberships), 0),
        coalesce((SELECT max(read_changed_id) FROM memberships), 0),
        coalesce((SELECT max(changed_id) FROM users WHERE changed_id IS NOT NULL), 0)
    )
)"""

# An order by both columns, here and below: without it PostgreSQL walks through the messages of all
# rooms. What `member` has not read at the event id `:at`. What was deleted later still counts: the
# deletion has a greater number, and is told by an event of its own.
UNREAD = f"""(
    SELECT count(*) FROM (
        SELECT 1 FROM messages
        WHERE (room_id, id) > (member.room_id, :greatest(member.read_id, member.visible_from))
            AND (room_id, id) <= (member.room_id, :at)
            AND user_id <> member.user_id
            AND (deleted_at IS NULL OR changed_id > :at)
        ORDER BY room_id, id LIMIT {UNREAD_MAX}
    ) AS capped
)"""

# Whether one of `viewer` and `other` has blocked the other.
BLOCKED = """EXISTS (
    SELECT 1 FROM blocks
    WHERE (owner_id = viewer.id AND blocked_id = other.id)
        OR (owner_id = other.id AND blocked_id = viewer.id)
)"""

_CHATS = f"""
WITH wanted AS MATERIALIZED (:wanted)
SELECT
    wanted.at, wanted.user_id, member.room_id, room.name, room.kind, room.title, room.image,
    room.history, room.low_user_id, room.high_user_id, member.role, member.joined_id,
    member.muted, member.read_id, other.username AS other_name, profile.image AS other_image,
    CASE WHEN viewer.show_read AND other.show_read AND NOT {BLOCKED} THEN peer.read_id END
        AS peer_read_id,
    CASE WHEN room.last_message_id <= member.read_id THEN 0 ELSE {UNREAD} END AS unread,
    CASE WHEN room.kind = 'group' THEN (
        SELECT count(*) FROM memberships WHERE room_id = room.id AND left_id IS NULL
    ) ELSE 2 END AS members_count,
    CASE WHEN room.kind = 'group' THEN (
        SELECT :joined FROM (
            SELECT user_id FROM memberships WHERE room_id = room.id AND left_id IS NULL
            LIMIT {MEMBERS_MAX + 1}
        ) AS capped
    ) END AS members,
    CASE WHEN room.last_message_id <= wanted.at THEN room.last_message_id ELSE (
        SELECT id FROM messages
        WHERE (room_id, id) > (room.id, 0) AND (room_id, id) <= (room.id, wanted.at)
        ORDER BY room_id DESC, id DESC LIMIT 1
    ) END AS last_message_id,
    room.created_id,
    message.id AS message_id, author.username AS message_user, message.content,
    message.timestamp, message.client_id, message.edited_at, message.reply_to_id,
    message.attachments
FROM wanted
LEFT JOIN memberships AS member
    ON member.room_id = wanted.room_id AND member.user_id = wanted.user_id
        AND member.left_id IS NULL
LEFT JOIN chat_rooms AS room ON room.id = member.room_id
LEFT JOIN users AS other ON other.id =
    CASE room.low_user_id WHEN member.user_id THEN room.high_user_id ELSE room.low_user_id END
LEFT JOIN users AS viewer ON viewer.id = member.user_id
LEFT JOIN profiles AS profile ON profile.user_id = other.id
LEFT JOIN memberships AS peer ON peer.room_id = room.id AND peer.user_id = other.id
LEFT JOIN :newest_message
LEFT JOIN users AS author ON author.id = message.user_id
ORDER BY member.room_id
"""

_NEWEST_MESSAGE = """(
    SELECT {columns} FROM messages
    WHERE (room_id, id) > (member.room_id, member.visible_from)
        AND (room_id, id) <= (member.room_id, wanted.at)
        AND deleted_at IS NULL
    ORDER BY room_id DESC, id DESC LIMIT 1
)"""

_COLUMNS: tuple[ColumnClause[Any], ...] = (
    *(column(name, Integer) for name in ("at", "user_id", "room_id")),
    *(column(name, String) for name in ("name", "kind", "title", "image", "history")),
    *(column(name, Integer) for name in ("low_user_id", "high_user_id")),
    column("role", String),
    column("joined_id", Integer),
    column("muted", Boolean),
    column("read_id", Integer),
    *(column(name, String) for name in ("other_name", "other_image")),
    *(column(name, Integer) for name in ("peer_read_id", "unread", "members_count")),
    column("members", Text),
    *(column(name, Integer) for name in ("last_message_id", "created_id", "message_id")),
    *(column(name, Text) for name in ("message_user", "content")),
    column("timestamp", UtcDateTime),
    column("client_id", String),
    column("edited_at", UtcDateTime),
    column("reply_to_id", Integer),
    column("attachments", Text),
)

# The words in which the databases differ.
_WORDS = {
    "sqlite": {
        ":newest_message": "messages AS message ON message.id = "
        + _NEWEST_MESSAGE.format(columns="id"),
        ":greatest": "max",
        ":joined": "group_concat(user_id)",
    },
    "postgresql": {
        # Lateral, or it would read all messages to find those few.
        ":newest_message": f"LATERAL {_NEWEST_MESSAGE.format(columns='*')} AS message ON true",
        ":greatest": "greatest",
        ":joined": "string_agg(CAST(user_id AS text), ',')",
    },
}


def in_words_of(dialect: str, sql: str, **words: str) -> str:
    """Return a statement of ours as one of the databases understands it.

    Args:
        dialect: `sqlite` or `postgresql`.
        sql: The statement, with `:greatest` and the like.
        words: More that is put in, by its name without the colon.
    """
    for name, word in words.items():
        sql = sql.replace(f":{name}", word)
    for name, word in _WORDS[dialect].items():
        sql = sql.replace(name, word)
    return sql


def _prepared(wanted: Mapping[str, str]) -> Mapping[str, Prepared]:
    return {
        dialect: Prepared(
            text(in_words_of(dialect, _CHATS, wanted=each, at="wanted.at")).columns(*_COLUMNS)
        )
        for dialect, each in wanted.items()
    }


# One row at least, so that the newest event id is known where there are no rooms.
_OWN_ROOMS = f"""
    SELECT newest.at, own.room_id, own.user_id
    FROM (SELECT {NEWEST} AS at) AS newest
    LEFT JOIN memberships AS own
        ON own.user_id = CAST(:user_id AS bigint) AND own.left_id IS NULL
"""
_OWN = _prepared(dict.fromkeys(_WORDS, _OWN_ROOMS))
_PLACES = _prepared(
    {
        "sqlite": """
            SELECT CAST(json_extract(value, '$[0]') AS INTEGER) AS at,
                CAST(json_extract(value, '$[1]') AS INTEGER) AS room_id,
                CAST(json_extract(value, '$[2]') AS INTEGER) AS user_id
            FROM json_each(:places)
        """,
        "postgresql": """
            SELECT CAST(value->>0 AS bigint) AS at, CAST(value->>1 AS bigint) AS room_id,
                CAST(value->>2 AS bigint) AS user_id
            FROM json_array_elements(CAST(:places AS json))
        """,
    }
)
_NEWEST = {dialect: Prepared(text(in_words_of(dialect, f"SELECT {NEWEST}"))) for dialect in _WORDS}


def newest_event_id(connection: Connection) -> int:
    """Return the greatest event id that can be seen."""
    ((newest,),) = _NEWEST[connection.dialect.name].all(connection, {})
    return int(newest)


def list_chats(connection: Connection, user_id: int) -> tuple[Sequence[Mapping[str, Any]], int]:
    """Return a user's chats as the API shows them, ascending by id.

    Returns:
        The chats, and the event id up to which they are complete: with it the stream goes on
        without a gap or a double.
    """
    rows = _OWN[connection.dialect.name].all(connection, {"user_id": user_id})
    return [chat_out(row) for row in rows if row.room_id is not None], rows[0].at


def find_chats(
    connection: Connection, places: Iterable[tuple[int, int, int]]
) -> Mapping[tuple[int, int, int], Mapping[str, Any]]:
    """Return rooms as single members see them; nothing for who is none.

    Args:
        connection: Where from.
        places: Event ids, ids of rooms and of users.
    """
    if not (places := list(places)):
        return {}
    wanted = encode(places).decode()
    rows = _PLACES[connection.dialect.name].all(connection, {"places": wanted})
    return {
        (row.at, row.room_id, row.user_id): chat_out(row)
        for row in rows
        if row.room_id is not None  # of who is no member there is nothing but the place
    }


def get_chat(connection: Connection, room_id: int, user_id: int) -> Mapping[str, Any]:
    """Return a room as one of its members sees it now.

    Raises:
        RoomNotFound: They are no member any more.
    """
    place = (newest_event_id(connection), room_id, user_id)
    chat = find_chats(connection, [place]).get(place)
    if chat is None:
        raise RoomNotFound
    return chat


def chat_out(row: AnyRow) -> Mapping[str, Any]:
    """Return a row of the statements above as the API shows it."""
    is_group = row.kind == "group"
    members = [row.low_user_id, row.high_user_id]
    if is_group:
        members = sorted(map(int, row.members.split(","))) if row.members else []
    message = None
    if row.message_id is not None:
        message = message_out(row.message_id, row.message_user, *row[-6:])
    chat = {
        "id": row.room_id,
        "name": row.name,
        "members": members,
        "display_name": row.title if is_group else row.other_name,
        "kind": row.kind,
        "members_count": row.members_count,
        "role": row.role,
        "image": row.image and image_url(row.image) if is_group else image_url(row.other_image),
        "history": row.history,
        "joined_id": row.joined_id,
        "muted": row.muted,
        "read_id": row.read_id,
        "peer_read_id": row.peer_read_id,
        "unread": row.unread,
        "event_id": row.last_message_id or row.created_id,
        "last_message": message,
    }
    unused = ("peer_read_id",) if is_group else ("role", "history")
    if not is_group and row.peer_read_id is None:
        unused = ("peer_read_id", *unused)
    if row.members_count > MEMBERS_MAX:
        unused = ("members", *unused)
    for key in unused:
        del chat[key]
    return chat
