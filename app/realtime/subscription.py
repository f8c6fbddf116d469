"""How far one socket has been told."""

from app.realtime.connection import Connection


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
