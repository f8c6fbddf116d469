"""Talk over streams in place of sockets of rooms."""

from collections.abc import Iterator

from bench.talk import Chatter


class StreamChatter(Chatter):
    """One member of a room at the stream of all of their rooms."""

    @property
    def path(self) -> str:
        """The path of the stream."""
        return "/messenger/ws/events/"

    def frame(self, text: str) -> str:
        """Return what is sent to say something."""
        return f'{{"type": "send", "room": "{self.room.name}", "content": "{text}"}}'

    def texts(self) -> Iterator[tuple[float, bytes]]:
        """Yield the messages and the errors that came, in the form that sockets of rooms have."""
        for at, payload in self.socket.texts():
            if payload.startswith(b'{"type":"message"'):
                yield at, payload.partition(b'"message":')[2][:-1]
            elif payload.startswith(b'{"type":"error"'):
                yield at, payload
