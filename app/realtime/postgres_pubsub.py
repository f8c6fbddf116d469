"""Rings by LISTEN and NOTIFY, where there is a PostgreSQL and no Redis.

Two connections a worker, beside the pool. A notification is seen by the listeners of the
same database only, so installations do not hear each other.

Source: https://www.postgresql.org/docs/current/sql-notify.html
"""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

_CHANNEL = "beseda_rings"


class PostgresPubSub:
    """The notifications of one PostgreSQL database.

    Args:
        connect: Returns a new connection, without transactions of its own (`autocommit`).
    """

    message_bytes = 7_900  # a notification carries less than 8,000

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect

    def connect_publisher(self) -> "PostgresConnection":
        line = PostgresConnection(self._connect())
        # A ring is no data: nobody has to wait until the disk has it.
        line.connection.execute("SET synchronous_commit = off")
        return line

    def connect_subscriber(self) -> "PostgresConnection":
        line = PostgresConnection(self._connect())
        line.connection.execute(f"LISTEN {_CHANNEL}")
        return line


class PostgresConnection:
    """One connection to PostgreSQL."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def send(self, message: bytes) -> None:
        self.connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, message.decode()))

    def receive(self) -> Sequence[bytes]:
        # After the first the generator ends, but with it come all that were in the same packet.
        received = self.connection.notifies(timeout=1.0, stop_after=1)
        return [notification.payload.encode() for notification in received]

    def close(self) -> None:
        self.connection.close()
