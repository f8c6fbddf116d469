"""How messages get into the tables: one transaction for many, in each database's own words.

Both ways keep the same promises. The rows of the rooms are locked before an id is drawn,
so ids in a room grow in the order of commits; `chat_rooms.last_message_id` moves in the
same transaction; a `client_id` that is there already inserts nothing, and nor does who is no
longer a member, or has erased their account.

Whether somebody may write is looked up before, and costs nothing here: the room's row, which is
locked anyway, has a version that grows when somebody loses that right. Only if it has grown it is
looked up once more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self, TypeAlias

from flask_babel import lazy_gettext as _
from sqlalchemy import (
    Connection,
    Engine,
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
from app.http.errors import ApiError
from app.http.json import encode
from app.messenger.members import Membership, find_writers
from app.messenger.models import Message, Room
from app.messenger.schemas import message_bytes

Key: TypeAlias = tuple[int, int, str | None]


class MessageDeleted(ApiError):
    """A message was sent again that its author or an administrator has deleted."""

    status = 409
    code = "message_deleted"
    detail = _("This message was deleted.")


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that wants to be stored; its room and its user are known to exist.

    Attributes:
        reply_to_id: A message of the same room; it was checked.
        access_version: Of the room, when the user was last known to be a member.
    """

    room_id: int
    user_id: int
    username: str
    content: str
    client_id: str | None = None
    reply_to_id: int | None = None
    room_name: str = ""
    access_version: int = 0

    @classmethod
    def of(
        cls,
        member: Membership,
        content: str,
        client_id: str | None = None,
        reply_to_id: int | None = None,
    ) -> Self:
        """Return what a member wants to send."""
        return cls(
            member.room_id,
            member.user_id,
            member.username,
            content,
            client_id,
            reply_to_id,
            member.room_name,
            member.access_version,
        )

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
        access_version: Of the room: with it the author was allowed to write.
    """

    room_id: int
    id: int
    payload: bytes
    prev_id: int | None
    access_version: int = 0

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
        What each draft became, in the same order; an error for a repeat whose first one was
        deleted or could not be read, and for who may not write there, all else being stored.

    Raises:
        OutcomeUnknownError: Perhaps they are stored, perhaps not.
        Exception: None of them is stored.
    """
    stored: list[Stored | Exception | None] = [*_add(engine, drafts, now)]
    if None in stored:
        # From here on some are stored, and no error may say otherwise.
        try:
            _settle(engine, drafts, stored, now)
        except Exception as error:
            stored = [error if each is None else each for each in stored]
    # Who is neither new nor a repeat, and may write, has erased their account a moment ago.
    return [TokenNotValid() if each is None else each for each in stored]


def _add(engine: Engine, drafts: Sequence[Draft], now: datetime) -> list[Stored | None]:
    add = _add_to_postgresql if engine.dialect.name == "postgresql" else _add_to_sqlite
    return [
        None
        if ids is None
        else Stored(
            draft.room_id,
            ids[0],
            message_bytes(
                *(ids[0], draft.username, draft.content, now, draft.client_id),
                *(None, draft.reply_to_id),
            ),
            ids[1],
            draft.access_version,
        )
        for draft, ids in zip(drafts, add(engine, drafts, now), strict=True)
    ]


def _settle(
    engine: Engine, drafts: Sequence[Draft], stored: list[Stored | Exception | None], now: datetime
) -> None:
    # Finds out about those that were not inserted: repeats, and who has to be looked at again.
    left = [position for position, each in enumerate(stored) if each is None]
    earlier = _find(engine, {drafts[position].key for position in left})
    for position in left:
        stored[position] = earlier.get(drafts[position].key)
    left = [position for position in left if stored[position] is None]
    if not left:
        return
    places = {(drafts[position].room_id, drafts[position].user_id) for position in left}
    found = find_writers(engine, places)
    again = []
    for position in left:
        draft = drafts[position]
        version = found[draft.room_id, draft.user_id]
        if isinstance(version, ApiError):
            stored[position] = version
        elif version != draft.access_version:
            again.append((position, replace(draft, access_version=version)))
    if again:
        retried = _add(engine, [draft for _, draft in again], now)
        for (position, _), each in zip(again, retried, strict=True):
            stored[position] = each


def _find(engine: Engine, keys: Iterable[Key]) -> Mapping[Key, Stored | MessageDeleted]:
    with_id = [key for key in keys if key[2] is not None]
    if not with_id:
        return {}
    query = (
        select(
            Message.room_id,
            Message.user_id,
            Message.client_id.label("key"),
            Message.deleted_at,
            Message.id,
            User.username,
            Message.content,
            Message.timestamp,
            Message.client_id,
            Message.edited_at,
            Message.reply_to_id,
        )
        .join(User, User.id == Message.user_id)
        .where(tuple_(Message.room_id, Message.user_id, Message.client_id).in_(with_id))
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    return {
        (room_id, user_id, client_id): MessageDeleted()
        if deleted_at
        else Stored(room_id, message[0], message_bytes(*message), None)
        for room_id, user_id, client_id, deleted_at, *message in rows
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
        versions: dict[int, int] = {}
        for room_id, last_id, version in _ROOMS.all(connection, {"rooms": rooms}):
            last_ids[room_id] = last_id
            versions[room_id] = version
        (last_of_all,) = _SQLITE_LAST_ID.first(connection, {}) or (0,)
        next_id = 1 + last_of_all
        added: list[tuple[int, int] | None] = []
        rows = []
        for draft in drafts:
            if draft.key in known or draft.access_version != versions[draft.room_id]:
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
                    "reply_to_id": draft.reply_to_id,
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


_ROOMS = Prepared(
    select(Room.id, Room.last_message_id, Room.access_version).where(
        Room.id.in_(select(func.json_each(bindparam("rooms")).table_valued("value").c.value))
    )
)
_SQLITE_LAST_ID = Prepared(text("SELECT seq FROM sqlite_sequence WHERE name = 'messages'"))
_INSERT = Prepared(
    insert(Message).values(
        {
            name: bindparam(name)
            for name in (
                *("id", "room_id", "user_id", "content", "client_id", "reply_to_id", "timestamp"),
            )
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
            CAST(:contents AS text[]), CAST(:client_ids AS text[]),
            CAST(:replies AS bigint[]), CAST(:versions AS bigint[])
        ) WITH ORDINALITY
            AS draft (room_id, user_id, content, client_id, reply_to_id, version, position)
    ), locked AS MATERIALIZED (
        SELECT id, last_message_id, access_version FROM chat_rooms
        WHERE id = ANY (CAST(:rooms AS bigint[]))
        ORDER BY id
        FOR NO KEY UPDATE
    ), author AS MATERIALIZED (
        SELECT id, deleted_at FROM users
        WHERE id = ANY (CAST(:users AS bigint[])) AND (SELECT count(*) FROM locked) >= 0
        FOR KEY SHARE
    ), added AS (
        INSERT INTO messages (room_id, user_id, content, client_id, reply_to_id, timestamp)
        SELECT room_id, user_id, content, client_id, reply_to_id, CAST(:now AS timestamptz)
        FROM draft
        LEFT JOIN locked ON locked.id = draft.room_id
        LEFT JOIN author ON author.id = draft.user_id
        WHERE author.deleted_at IS NULL
            AND (locked.id IS NULL OR locked.access_version = draft.version)
        ORDER BY position
        ON CONFLICT DO NOTHING
        RETURNING id, room_id, user_id, client_id
    ), moved AS (
        UPDATE chat_rooms SET last_message_id = newest.id
        FROM (SELECT room_id, max(id) AS id FROM added GROUP BY room_id) AS newest
        WHERE chat_rooms.id = newest.room_id
    )
    SELECT added.id, room_id, user_id, client_id, last_message_id, access_version
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
                    "replies": _array(_number(draft.reply_to_id) for draft in drafts),
                    "versions": _array(str(draft.access_version) for draft in drafts),
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


def _number(number: int | None) -> str:
    return "NULL" if number is None else str(number)


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _matched(drafts: Sequence[Draft], rows: Sequence[AnyRow]) -> _Added:
    # The rows come in the order of the drafts, without those that were kept out.
    inserted = set()
    versions: dict[int, int] = {}
    for _id, room_id, user_id, client_id, _last, version in rows:
        inserted.add((room_id, user_id, client_id))
        versions[room_id] = version
    left = iter(rows)
    last_ids: dict[int, int] = {}
    added: list[tuple[int, int] | None] = []
    for draft in drafts:
        if draft.key not in inserted or draft.access_version != versions[draft.room_id]:
            added.append(None)
            continue
        if draft.client_id is not None:
            inserted.remove(draft.key)  # the same one again in this batch is a repeat
        message_id, *_, before, _version = next(left)
        added.append((message_id, last_ids.get(draft.room_id, before)))
        last_ids[draft.room_id] = message_id
    return added
