"""How read marks get into the tables: many at once, each with an event id of its own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection, Engine, text

from app.database.prepared import Prepared
from app.database.sequence import LOCK, draw, note_wait
from app.database.transactions import reading, writing
from app.database.types import LARGEST_ID
from app.http.json import encode
from app.messenger.chats import UNREAD, in_words_of

Place: TypeAlias = tuple[int, int]  # ids of a room and of a user


class ReadMark(NamedTuple):
    """How far somebody has read in a room, and what is left."""

    read_id: int
    unread: int


class Move(NamedTuple):
    """How a mark is to be moved: down to a message, then up to one.

    Attributes:
        up_to: An event id; a mark never moves beyond the newest message.
        down_to: An event id.
    """

    up_to: int = 0
    down_to: int = LARGEST_ID

    def then(self, later: "Move") -> "Move":
        """Return the one move that does the same as this one and a later one."""
        up_to = max(min(self.up_to, later.down_to), later.up_to)
        return Move(up_to, min(self.down_to, later.down_to))


def store_moves(engine: Engine, moves: Mapping[Place, Move]) -> range:
    """Move the marks of members; nothing happens to those of others, and of erased accounts.

    Returns:
        The event ids; announce them.
    """
    values = {"moves": _packed([(*place, *move) for place, move in moves.items()])}
    if engine.dialect.name == "postgresql":
        with reading(engine) as connection:  # one statement needs no transaction around it
            rows = _STORE.all(connection, values)
        if not rows:
            return range(0)
        note_wait(rows[0][1])
        return range(rows[0][0], rows[-1][0] + 1)
    with writing(engine) as connection:
        moved = _MOVED_ON_SQLITE.all(connection, values)
        numbers = draw(connection, len(moved))
        marks = [(*mark, number) for mark, number in zip(moved, numbers, strict=True)]
        _WRITE_ON_SQLITE.all(connection, {"marks": _packed(marks)})
    return numbers


def find_marks(connection: Connection, places: Sequence[Place]) -> Mapping[Place, ReadMark]:
    """Return how far members have read, and what is left; nothing of those who are none."""
    rows = _FIND[connection.dialect.name].all(connection, {"places": _packed(places)})
    return {(room_id, user_id): ReadMark(*mark) for room_id, user_id, *mark in rows}


def _packed(rows: Sequence[Sequence[int]]) -> str:
    return encode(rows).decode()


# All who write wait while the lock of the sequence is held, so one statement is the whole
# transaction, as where messages are stored. `reader` waits for an erasure that is under way, which
# also locks accounts before memberships. `locked` takes the memberships in the order of their keys,
# and `turn` comes last.
_STORE = Prepared(
    text(f"""
    WITH wanted AS MATERIALIZED (
        SELECT CAST(value->>0 AS bigint) AS room_id, CAST(value->>1 AS bigint) AS user_id,
            CAST(value->>2 AS bigint) AS up_to, CAST(value->>3 AS bigint) AS down_to
        FROM json_array_elements(CAST(:moves AS json))
    ), reader AS MATERIALIZED (
        SELECT id FROM users
        WHERE id = ANY (ARRAY(SELECT user_id FROM wanted)) AND deleted_at IS NULL
        FOR KEY SHARE
    ), locked AS MATERIALIZED (
        SELECT member.room_id, member.user_id, read_id, up_to, down_to, last_message_id
        FROM wanted
        JOIN reader ON reader.id = wanted.user_id
        JOIN memberships AS member
            ON member.room_id = wanted.room_id AND member.user_id = wanted.user_id
        JOIN chat_rooms AS room ON room.id = wanted.room_id
        WHERE left_id IS NULL
        ORDER BY member.room_id, member.user_id
        FOR NO KEY UPDATE OF member
    ), moved AS MATERIALIZED (
        SELECT room_id, user_id, read_id AS before,
            greatest(least(read_id, down_to), least(up_to, last_message_id)) AS after
        FROM locked
    ), turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock({LOCK}), clock_timestamp() - statement_timestamp() AS waited
        FROM (SELECT count(*) AS marks FROM moved WHERE before <> after) AS all_locked
        WHERE marks > 0
    ), numbered AS MATERIALIZED (
        SELECT room_id, user_id, after, nextval('messages_id_seq') AS number,
            CAST(extract(epoch FROM turn.waited) AS float8) AS waited
        FROM turn CROSS JOIN moved WHERE before <> after
    ), written AS (
        UPDATE memberships AS member SET read_id = after, read_changed_id = number
        FROM numbered
        WHERE member.room_id = numbered.room_id AND member.user_id = numbered.user_id
    )
    SELECT number, waited FROM numbered ORDER BY number
""")
)

_MOVED_ON_SQLITE = Prepared(
    text("""
    WITH wanted AS (
        SELECT json_extract(value, '$[0]') AS room_id, json_extract(value, '$[1]') AS user_id,
            json_extract(value, '$[2]') AS up_to, json_extract(value, '$[3]') AS down_to
        FROM json_each(:moves)
    ), moved AS (
        SELECT member.room_id, member.user_id, read_id AS before,
            max(min(read_id, down_to), min(up_to, last_message_id)) AS after
        FROM wanted
        JOIN memberships AS member
            ON member.room_id = wanted.room_id AND member.user_id = wanted.user_id
        JOIN chat_rooms AS room ON room.id = wanted.room_id
        JOIN users ON users.id = wanted.user_id
        WHERE left_id IS NULL AND users.deleted_at IS NULL
    )
    SELECT room_id, user_id, after FROM moved WHERE before <> after ORDER BY room_id, user_id
""")
)
_WRITE_ON_SQLITE = Prepared(
    text("""
    UPDATE memberships
    SET read_id = json_extract(value, '$[2]'), read_changed_id = json_extract(value, '$[3]')
    FROM json_each(:marks)
    WHERE room_id = json_extract(value, '$[0]') AND user_id = json_extract(value, '$[1]')
""")
)


_MARKS = f"""
    SELECT member.room_id, member.user_id, member.read_id, {UNREAD} AS unread
    FROM (:wanted) AS wanted
    JOIN memberships AS member
        ON member.room_id = wanted.room_id AND member.user_id = wanted.user_id
    WHERE member.left_id IS NULL
"""
_WANTED = {
    "sqlite": """
        SELECT CAST(json_extract(value, '$[0]') AS INTEGER) AS room_id,
            CAST(json_extract(value, '$[1]') AS INTEGER) AS user_id
        FROM json_each(:places)""",
    "postgresql": """
        SELECT CAST(value->>0 AS bigint) AS room_id, CAST(value->>1 AS bigint) AS user_id
        FROM json_array_elements(CAST(:places AS json))""",
}
_FIND = {
    dialect: Prepared(text(in_words_of(dialect, _MARKS, wanted=wanted, at=str(LARGEST_ID))))
    for dialect, wanted in _WANTED.items()
}
