"""Rooms and messages straight in the tables, for tests below the API."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, func, insert, select

from app.accounts.models import User
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.messenger.drafts import Draft
from app.messenger.models import Message, Room
from tests.factories import user_row

NOW = datetime(2024, 12, 12, 10, tzinfo=UTC)
_count = itertools.count(1)


@dataclass(frozen=True)
class RoomRow:
    """A room of two."""

    id: int
    user_ids: tuple[int, int]
    usernames: tuple[str, str]

    def draft(self, content: str, client_id: str | None = None, *, of: int = 0) -> Draft:
        """Return what one of the two, the first by default, wants to say."""
        return Draft(self.id, self.user_ids[of], self.usernames[of], content, client_id)


def make_room(engine: Engine) -> RoomRow:
    """Return a new room of two new people."""
    names = tuple(f"{stem}.{next(_count)}" for stem in ("ann", "bob"))
    with writing(engine) as connection:
        ids = tuple(
            connection.scalar(insert(User).values(user_row(name)).returning(User.id))
            for name in names
        )
        room_id = connection.scalar(
            insert(Room)
            .values(
                name="_".join(names), low_user_id=ids[0], high_user_id=ids[1], created_at=utcnow()
            )
            .returning(Room.id)
        )
    return RoomRow(room_id, ids, names)


def messages_of(engine: Engine, room: RoomRow) -> list[tuple[int, str]]:
    """Return the ids and contents of a room's messages, ascending."""
    query = select(Message.id, Message.content).where(Message.room_id == room.id)
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(query.order_by(Message.id))]


def contents_of(engine: Engine, room: RoomRow) -> list[str]:
    """Return what was said in a room, in the order of the ids."""
    return [content for _, content in messages_of(engine, room)]


def last_id_of(engine: Engine, room: RoomRow) -> int:
    """Return what the room's row says is its newest message."""
    with reading(engine) as connection:
        return connection.scalar(select(Room.last_message_id).where(Room.id == room.id))


def count_messages(engine: Engine) -> int:
    """Return how many messages there are in all rooms."""
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(Message))


@contextmanager
def held(engine: Engine, room: RoomRow) -> Iterator[Connection]:
    """Hold the lock that whoever writes to a room has to wait for."""
    with writing(engine) as connection:  # on SQLite that is all it takes
        connection.execute(select(Room.id).where(Room.id == room.id).with_for_update())
        yield connection
