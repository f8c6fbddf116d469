"""How far one socket has been told, in a room or of everything."""

from typing import Protocol

from app.realtime.connection import Connection
from app.realtime.loop import monotonic


class Subscription:
    """A socket that gets what is delivered, from a cursor on.

    Attributes:
        connection: The socket.
        cursor: The id of the last message or event that it has, or does not want.
    """

    __slots__ = ("connection", "cursor")

    def __init__(self, connection: Connection, cursor: int) -> None:
        self.connection = connection
        self.cursor = cursor


class StreamListener(Protocol):
    """Is told of the steps of a stream."""

    def on_ready(self, cursor: int) -> None:
        """The replay is complete up to an event id: everything after it is live."""

    def on_reset(self, cursor: int) -> None:
        """Too much would be replayed: the stream goes on from an event id without it."""

    def on_cursor(self, cursor: int) -> None:
        """Everything up to an event id was sent."""

    def on_beat(self, cursor: int) -> None:
        """Nothing was sent for a while; everything up to an event id is known."""


class StreamSubscription(Subscription):
    """The stream of one person on one socket.

    Attributes:
        user_id: Whose it is.
        listener: Is told of its steps.
        most: How many events may be replayed; None: all.
        backlog: What was published while the stream reads what it has missed; None when it is live.
        sent_at: When something was sent last, by `monotonic`.
    """

    __slots__ = ("backlog", "listener", "most", "sent_at", "user_id")

    def __init__(
        self,
        connection: Connection,
        cursor: int,
        user_id: int,
        listener: StreamListener,
        most: int | None = None,
    ) -> None:
        super().__init__(connection, cursor)
        self.user_id = user_id
        self.listener = listener
        self.most = most
        self.sent_at = monotonic()
        self.backlog: list[tuple[int, bytes]] | None = None
