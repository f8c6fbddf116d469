"""How SQLite stores messages: in a transaction that has the whole file to itself."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, text, tuple_, update

from app.database.prepared import Prepared
from app.http.json import encode
from app.messenger.drafts import Added, Draft, Key
from app.messenger.models import Message, Room


def add(connection: Connection, drafts: Sequence[Draft], now: datetime) -> Added:
    """Insert those of the drafts that are new and allowed, in the order given."""
    # BEGIN IMMEDIATE has locked the whole file, so what is read here stays true until COMMIT,
    # and the ids that AUTOINCREMENT would draw can be drawn here, for all rows at once.
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
