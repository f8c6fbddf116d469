"""How messages get into the tables: one transaction for many, in each database's own words.

Both ways keep the same promises. The rows of the rooms are locked before an id is drawn,
so ids in a room grow in the order of commits; `chat_rooms.last_message_id` moves in the
same transaction; a `client_id` that is there already inserts nothing, and nor does who has
erased their account meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    bindparam,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError

from app.accounts.models import User
from app.accounts.tokens import TokenNotValid
from app.database.prepared import AnyRow, Prepared
from app.database.transactions import reading, writing
from app.http.json import encode
from app.messenger.models import Message, Room
from app.messenger.schemas import message_bytes

Key: TypeAlias = tuple[int, int, str | None]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that wants to be stored; its room and its user are known to exist."""

    room_id: int
    user_id: int
    username: str
    content: str
    client_id: str | None = None

    @property
    def key(self) -> Key:
        """What the database keeps unique, where a `client_id` was given."""
        return self.room_id, self.user_id, self.client_id


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in the table.

    Attributes:
        room_id: Where.
        id: Its id.
        payload: It, as its readers get it (JSON).
        prev_id: The id before it in its room; None if it had been stored earlier, under
            the same `client_id`.
    """

    room_id: int
    id: int
    payload: bytes
    prev_id: int | None

    @property
    def is_repeat(self) -> bool:
        """Whether nothing was inserted: this user had sent this `client_id` to this room."""
        return self.prev_id is None


class OutcomeUnknownError(Exception):
    """The connection died while committing: nobody knows whether the messages are stored."""


def store(engine: Engine, drafts: Sequence[Draft], now: datetime) -> list[Stored | Exception]:
    """Store messages in one transaction, in the order given.

    Args:
        engine: The database.
        drafts: What to store.
        now: The time that they all get.

    Returns:
        What each draft became, in the same order; an error for a repeat whose first one
        could not be read, and for a message of an erased account, all else being stored.

    Raises:
        OutcomeUnknownError: Perhaps they are stored, perhaps not.
        Exception: None of them is stored.
    """
    add = _add_to_postgresql if engine.dialect.name == "postgresql" else _add_to_sqlite
    added = add(engine, drafts, now)
    # From here on they are stored, and no error may say otherwise.
    repeated = [draft.key for draft, ids in zip(drafts, added, strict=True) if ids is None]
    earlier: Mapping[Key, Stored] = {}
    failure: Exception = TokenNotValid()  # neither new nor a repeat: its author is gone
    try:
        earlier = _find(engine, repeated) if repeated else {}
    except Exception as error:
        failure = error
    stored: list[Stored | Exception] = []
    for draft, ids in zip(drafts, added, strict=True):
        if ids is None:
            stored.append(earlier.get(draft.key, failure))
        else:
            payload = message_bytes(ids[0], draft.username, draft.content, now, draft.client_id)
            stored.append(Stored(draft.room_id, ids[0], payload, ids[1]))
    return stored


def _find(engine: Engine, keys: Iterable[Key]) -> Mapping[Key, Stored]:
    query = (
        select(
            Message.room_id,
            Message.user_id,
            Message.client_id,
            Message.id,
            User.username,
            Message.content,
            Message.timestamp,
        )
        .join(User, User.id == Message.user_id)
        .where(tuple_(Message.room_id, Message.user_id, Message.client_id).in_(keys))
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    return {
        (room_id, user_id, client_id): Stored(
            room_id, message_id, message_bytes(message_id, *content, client_id), None
        )
        for room_id, user_id, client_id, message_id, *content in rows
    }


# What became of each draft: its id and the id before it in its room, or None for a repeat.
_Added: TypeAlias = Sequence[tuple[int, int] | None]


def _add_to_sqlite(engine: Engine, drafts: Sequence[Draft], now: datetime) -> _Added:
    # BEGIN IMMEDIATE has locked the whole file, so what is read here stays true until COMMIT,
    # and the ids that AUTOINCREMENT would draw can be drawn here, for all rows at once.
    with writing(engine) as connection:
        with_id = [draft.key for draft in drafts if draft.client_id is not None]
        known = _known_keys(connection, with_id) if with_id else set()
        rooms = encode(list({draft.room_id for draft in drafts})).decode()
        last_ids: dict[int, int] = {}
        erased = set()
        for room_id, last_id, erased_id in _ROOMS_AND_ERASED.all(connection, {"rooms": rooms}):
            last_ids[room_id] = last_id
            erased.add(erased_id)
        (last_of_all,) = _SQLITE_LAST_ID.first(connection, {}) or (0,)
        next_id = 1 + last_of_all
        added: list[tuple[int, int] | None] = []
        rows = []
        for draft in drafts:
            if draft.key in known or draft.user_id in erased:
                added.append(None)
                continue
            if draft.client_id is not None:
                known.add(draft.key)
            added.append((next_id, last_ids[draft.room_id]))
            last_ids[draft.room_id] = next_id
            rows.append(
                {
                    "id": next_id,
                    "room_id": draft.room_id,
                    "user_id": draft.user_id,
                    "content": draft.content,
                    "client_id": draft.client_id,
                    "timestamp": now,
                }
            )
            next_id += 1
        if rows:
            _INSERT.many(connection, rows)
            _MOVE_LAST_ID.many(
                connection,
                [{"room": room_id, "last": last_id} for room_id, last_id in last_ids.items()],
            )
    return added


# Members who have erased their account come with their room: to ask for the authors as well
# made a lone message a third slower.
_ROOMS_AND_ERASED = Prepared(
    select(Room.id, Room.last_message_id, User.id)
    .join(
        User,
        and_(User.id.in_((Room.low_user_id, Room.high_user_id)), User.deleted_at.is_not(None)),
        isouter=True,
    )
    .where(Room.id.in_(select(func.json_each(bindparam("rooms")).table_valued("value").c.value)))
)
_SQLITE_LAST_ID = Prepared(text("SELECT seq FROM sqlite_sequence WHERE name = 'messages'"))
_INSERT = Prepared(
    insert(Message).values(
        {
            name: bindparam(name)
            for name in ("id", "room_id", "user_id", "content", "client_id", "timestamp")
        }
    )
)
_MOVE_LAST_ID = Prepared(
    update(Room).where(Room.id == bindparam("room")).values(last_message_id=bindparam("last"))
)


def _known_keys(connection: Connection, keys: Iterable[Key]) -> set[Key]:
    columns = (Message.room_id, Message.user_id, Message.client_id)
    found = connection.execute(select(*columns).where(tuple_(*columns).in_(keys)))
    return set(found)


# One statement, so one round trip, is the whole transaction. `locked` takes the rooms in the
# order of their ids, so two workers never wait for each other in a circle; the sort in
# `added` needs all of it before the first id is drawn. A room that was locked by another
# worker meanwhile comes with the last_message_id that this one left. NO KEY: the foreign
# keys of others' messages may look at the room while we write. LEFT: a room that is not there
# breaks a foreign key, and then nothing is stored. `author` waits for an erasure that is under
# way, and sees what it has left; the count makes it come after `locked`, in whose order an
# erasure takes its locks as well.
_POSTGRESQL_ADD = Prepared(
    text("""
    WITH draft AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:rooms AS bigint[]), CAST(:users AS bigint[]),
            CAST(:contents AS text[]), CAST(:client_ids AS text[])
        ) WITH ORDINALITY AS draft (room_id, user_id, content, client_id, position)
    ), locked AS MATERIALIZED (
        SELECT id, last_message_id FROM chat_rooms
        WHERE id = ANY (CAST(:rooms AS bigint[]))
        ORDER BY id
        FOR NO KEY UPDATE
    ), author AS MATERIALIZED (
        SELECT id, deleted_at FROM users
        WHERE id = ANY (CAST(:users AS bigint[])) AND (SELECT count(*) FROM locked) >= 0
        FOR KEY SHARE
    ), added AS (
        INSERT INTO messages (room_id, user_id, content, client_id, timestamp)
        SELECT room_id, user_id, content, client_id, CAST(:now AS timestamptz)
        FROM draft
        LEFT JOIN locked ON locked.id = draft.room_id
        LEFT JOIN author ON author.id = draft.user_id
        WHERE author.deleted_at IS NULL
        ORDER BY position
        ON CONFLICT DO NOTHING
        RETURNING id, room_id, user_id, client_id
    ), moved AS (
        UPDATE chat_rooms SET last_message_id = newest.id
        FROM (SELECT room_id, max(id) AS id FROM added GROUP BY room_id) AS newest
        WHERE chat_rooms.id = newest.room_id
    )
    SELECT added.id, room_id, user_id, client_id, last_message_id
    FROM added JOIN locked ON locked.id = added.room_id
    ORDER BY added.id
""")
)


def _add_to_postgresql(engine: Engine, drafts: Sequence[Draft], now: datetime) -> _Added:
    with reading(engine) as connection:  # one statement needs no transaction around it
        try:
            rows = _POSTGRESQL_ADD.all(
                connection,
                {
                    "rooms": _array(str(draft.room_id) for draft in drafts),
                    "users": _array(str(draft.user_id) for draft in drafts),
                    "contents": _array(_quoted(draft.content) for draft in drafts),
                    "client_ids": _array(_quoted(draft.client_id) for draft in drafts),
                    "now": now,
                },
            )
        except DBAPIError as error:
            if error.connection_invalidated:
                raise OutcomeUnknownError from error
            raise
    return _matched(drafts, rows)


# Arrays as PostgreSQL reads them (manual, 8.15.6). psycopg looks at each value's type first, in
# three passes, which took as long as all else that is done here.
def _array(items: Iterable[str]) -> str:
    return f"{{{','.join(items)}}}"


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _matched(drafts: Sequence[Draft], rows: Sequence[AnyRow]) -> _Added:
    # The rows come in the order of the drafts, without those that were kept out.
    inserted = {(room_id, user_id, client_id) for _, room_id, user_id, client_id, _ in rows}
    left = iter(rows)
    last_ids: dict[int, int] = {}
    added: list[tuple[int, int] | None] = []
    for draft in drafts:
        if draft.key not in inserted:
            added.append(None)
            continue
        if draft.client_id is not None:
            inserted.remove(draft.key)  # the same one again in this batch is a repeat
        message_id, *_, before = next(left)
        added.append((message_id, last_ids.get(draft.room_id, before)))
        last_ids[draft.room_id] = message_id
    return added
