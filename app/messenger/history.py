"""Answers what realtime asks of the database."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Engine, bindparam, select

from app.accounts.models import User
from app.database.keyset import KeysetQuery
from app.database.transactions import reading
from app.messenger.models import Message, Room
from app.messenger.schemas import message_bytes

MESSAGES = select(
    Message.id,
    User.username,
    Message.content,
    Message.timestamp,
    Message.client_id,
    Message.edited_at,
    Message.reply_to_id,
).join(User, User.id == Message.user_id)
_OF_ROOM = KeysetQuery(MESSAGES, Message.id, partition=Message.room_id)
_LAST_IDS = select(Room.id, Room.last_message_id).where(
    Room.id.in_(bindparam("room_ids", expanding=True))
)


class MessageHistory:
    """The messages in the tables; fits `realtime.History`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def last_ids(self, room_ids: Collection[int]) -> Mapping[int, int]:
        """Return the newest message id of each room; 0 where nothing was said yet."""
        with reading(self._engine) as connection:
            return dict(connection.execute(_LAST_IDS, {"room_ids": tuple(room_ids)}).all())

    def after(self, room_id: int, message_id: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return the oldest messages of a room newer than an id, ascending, with their payloads."""
        with reading(self._engine) as connection:
            rows = _OF_ROOM.after(connection, message_id, limit, partition=room_id)
        return [(row[0], message_bytes(*row)) for row in rows]
