"""Publications by LISTEN and NOTIFY, where there is a PostgreSQL and no Redis.

Two connections a worker, beside the pool. Only listeners of the same database receive a
notification, so installations do not disturb each other.

Source: https://www.postgresql.org/docs/current/sql-notify.html
"""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from app.realtime.bus import PubSubError

# As long as the release before runs beside this one they must not read each other's messages,
# so a change of their form takes another name.
_CHANNEL = "beseda_publications"

_EXPECTED = (psycopg.Error, OSError)


class PostgresPubSub:
    """The notifications of one PostgreSQL database.

    Args:
        connect: Returns a new connection, without transactions of its own (`autocommit`).
    """

    message_bytes = 7_900  # a notification carries less than 8,000

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect

    def connect_publisher(self) -> "PostgresConnection":
        # A notification is no data: nobody has to wait until the disk has it.
        return self._prepared("SET synchronous_commit = off")

    def connect_subscriber(self) -> "PostgresConnection":
        return self._prepared(f"LISTEN {_CHANNEL}")

    def _prepared(self, statement: str) -> "PostgresConnection":
        try:
            connection = self._connect()
            connection.execute(statement)
        except _EXPECTED as error:
            raise _named(error) from error
        return PostgresConnection(connection)


class PostgresConnection:
    """One connection to PostgreSQL."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def send(self, message: bytes) -> None:
        try:
            self.connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, message.decode()))
        except _EXPECTED as error:
            raise _named(error) from error

    def receive(self) -> Sequence[bytes]:
        try:
            # The generator ends after the first, but yields all that came in the same packet.
            received = self.connection.notifies(timeout=1.0, stop_after=1)
            return [notification.payload.encode() for notification in received]
        except _EXPECTED as error:
            raise _named(error) from error

    def close(self) -> None:
        self.connection.close()


def _named(error: Exception) -> PubSubError:
    first_line = str(error).partition("\n")[0]
    return PubSubError(f"PostgreSQL: {type(error).__name__}: {first_line}")
