"""Answers what realtime asks of the database."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Engine, select

from app.accounts.models import User
from app.database import reading
from app.messenger.models import Message, Room
from app.messenger.schemas import message_bytes

MESSAGES = select(
    Message.id, User.username, Message.content, Message.timestamp, Message.client_id
).join(User, User.id == Message.user_id)


class MessageHistory:
    """The messages in the tables; fits `realtime.History`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def last_ids(self, room_ids: Collection[int]) -> Mapping[int, int]:
        """Return the newest message id of each room; 0 where nothing was said yet."""
        query = select(Room.id, Room.last_message_id).where(Room.id.in_(room_ids))
        with reading(self._engine) as connection:
            return dict(connection.execute(query).all())

    def after(self, room_id: int, message_id: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return the oldest messages of a room newer than an id, ascending, with their payloads."""
        query = (
            MESSAGES.where(Message.room_id == room_id, Message.id > message_id)
            .order_by(Message.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [(row.id, message_bytes(*row)) for row in connection.execute(query)]
