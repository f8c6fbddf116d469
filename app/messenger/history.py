"""Reads what realtime asks of the database."""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.models import User
from app.database.errors import is_unavailable
from app.database.keyset import KeysetQuery
from app.database.prepared import Prepared
from app.database.transactions import reading
from app.messenger.models import Message
from app.messenger.schemas import message_bytes
from app.realtime import HistoryUnavailableError


@contextmanager
def reading_history(engine: Engine) -> Iterator[Connection]:
    """Lend a connection to read for realtime.

    Raises:
        HistoryUnavailableError: The database is away.
    """
    try:
        with reading(engine) as connection:
            yield connection
    except SQLAlchemyError as error:
        if is_unavailable(error):
            raise HistoryUnavailableError(type(error).__name__) from error
        raise


MESSAGES = select(
    Message.id,
    User.username,
    Message.content,
    Message.timestamp,
    Message.client_id,
    Message.edited_at,
    Message.reply_to_id,
    Message.attachments,
).join(User, User.id == Message.user_id)
_OF_ROOM = KeysetQuery(
    MESSAGES.add_columns(Message.deleted_at), Message.id, partition=Message.room_id
)
# One array, however many rooms: as an expanding IN this took forty times as long, and PostgreSQL
# refuses more than 65,535 parameters.
_LAST_IDS = {
    "sqlite": Prepared(
        text(
            "SELECT id, last_message_id FROM chat_rooms"
            " WHERE id IN (SELECT value FROM json_each(:rooms))"
        )
    ),
    "postgresql": Prepared(
        text("SELECT id, last_message_id FROM chat_rooms WHERE id = ANY (CAST(:rooms AS bigint[]))")
    ),
}


# Pages read at a time. All rooms of a worker have gaps when its bus breaks down, and all clients
# resume when it starts; connections are lent in turn, and requests must not wait for all of them.
READS_MAX = 4


class MessageHistory:
    """The messages in the tables; fits `realtime.History`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reads = threading.Semaphore(READS_MAX)

    def last_ids(self, room_ids: Collection[int]) -> Mapping[int, int]:
        """Return the newest message id of each room; 0 where there is no message yet."""
        ids = ",".join(map(str, room_ids))
        is_sqlite = self._engine.dialect.name == "sqlite"
        rooms = f"[{ids}]" if is_sqlite else f"{{{ids}}}"
        with reading_history(self._engine) as connection:
            return dict(_LAST_IDS[self._engine.dialect.name].all(connection, {"rooms": rooms}))

    def after(
        self, room_id: int, message_id: int, limit: int
    ) -> Sequence[tuple[int, bytes | None]]:
        """Return the oldest messages of a room newer than an id, ascending, with their payloads.

        A deleted message has none. It is there all the same, or a reader who looks for what
        comes up to the room's newest id would look for ever, if that was deleted.
        """
        with self._reads, reading_history(self._engine) as connection:
            rows = _OF_ROOM.after(connection, message_id, limit, partition=room_id)
        return [
            (message[0], None if deleted_at else message_bytes(*message))
            for *message, deleted_at in rows
        ]
