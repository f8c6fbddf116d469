"""What stands in for a client and for the database when the parts of `realtime` are tested.

The loop is gevent's, in the test's own thread and with nothing patched: it turns whenever
a test waits for something with `until`, and stands still while a test asserts.
"""

import socket
import traceback
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import gevent
from gevent.event import Event
from wsproto.connection import Connection as Protocol
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from app.realtime import Event as RealtimeEvent
from app.realtime import EventPage, FramePage, MembershipChange, Publication
from app.realtime.loop import give_way

Answer = TypeVar("Answer")


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Let the loop turn until something is true."""
    with gevent.Timeout(seconds, AssertionError(f"not within {seconds} s")):
        while not condition():
            gevent.sleep(0.001)


def settle(turns: int = 20) -> None:
    """Let the loop do what is due, for tests that nothing more happens."""
    for _ in range(turns):
        give_way()


@contextmanager
def faultless_loop() -> Iterator[None]:
    """Fail if a callback or a greenlet of the loop raises: gevent itself only prints that."""
    hub = gevent.get_hub()
    errors: list[str] = []

    def handle_error(_context: object, *error: object) -> None:
        errors.append("".join(traceback.format_exception(*error)))

    hub.handle_error = handle_error
    try:
        yield
        settle(2)
    finally:
        del hub.handle_error
    assert not errors, "\n".join(errors)


class Stream:
    """What a client makes of a server's bytes, by a WebSocket library that is not ours."""

    def __init__(self) -> None:
        self.protocol = Protocol(ConnectionType.CLIENT)
        self.texts: list[str] = []
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.code: int | None = None  # of the server's goodbye; 1005 if it gave none
        self._text = ""

    def feed(self, data: bytes) -> None:
        """Take in bytes, however they were cut."""
        self.protocol.receive_data(data)
        for event in self.protocol.events():
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    self.texts.append(self._text)
                    self._text = ""
            elif isinstance(event, Ping):
                self.pings.append(bytes(event.payload))
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                self.code = event.code


class Peer(Stream):
    """The client's end of a socket. It reads only when it is told to."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        end.setblocking(False)
        self.socket = end
        self.is_at_end = False  # the server has hung up

    def take(self, size: int = 64 * 1024) -> bool:
        """Read once; tell whether there was anything."""
        if self.is_at_end:
            return False
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if data:
            self.feed(data)
        else:
            self.is_at_end = True
        return bool(data)

    def take_until(self, condition: Callable[[], object], size: int = 64 * 1024) -> None:
        """Read until something is true."""

        def reads() -> bool:
            while self.take(size):
                gevent.sleep(0)
            return bool(condition())

        until(reads)

    def take_all(self) -> None:
        """Read until the server hangs up."""
        self.take_until(lambda: self.is_at_end)

    def send_text(self, text: str) -> None:
        """Send a text."""
        self.socket.send(self.protocol.send(TextMessage(data=text)))

    def ping(self, payload: bytes = b"") -> None:
        """Ask for a sign of life."""
        self.socket.send(self.protocol.send(Ping(payload=payload)))

    def pong(self) -> None:
        """Give a sign of life."""
        self.socket.send(self.protocol.send(Pong()))

    def say_goodbye(self, code: int | None = 1000) -> None:
        """Begin or answer the closing handshake; None gives no code."""
        frame = self.protocol.send(CloseConnection(code=1000 if code is None else code))
        # wsproto cannot leave the code out; a masked empty close frame is these six bytes.
        self.socket.send(b"\x88\x80\0\0\0\0" if code is None else frame)


class FakeListener:
    """Remembers what a connection tells."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.codes: list[int] = []

    def on_text(self, text: str) -> None:
        self.texts.append(text)

    def closed(self, code: int) -> None:
        self.codes.append(code)


class FakeSocket:
    """A connection whose client reads at once and understands what it reads.

    Args:
        reads: False for a client that reads nothing: what it is offered waits.
    """

    def __init__(self, *, reads: bool = True) -> None:
        self.is_open = True
        self.code, self.is_closed_by_us = 1000, False
        self.subscription: Any = None
        self.waiting = 0
        self._reads = reads
        self._drained = Event()
        self._stream = Stream()

    @property
    def cursor(self) -> int:
        """How far it has been told."""
        return int(self.subscription.cursor)

    @property
    def texts(self) -> list[str]:
        """What the client has read."""
        return self._stream.texts

    def offer(self, frame: bytes) -> None:
        if self.is_open:
            self._stream.feed(frame)
            if not self._reads:
                self.waiting += len(frame)

    def wait_drained(self) -> None:
        if self.waiting and self.is_open:
            self._drained.wait()

    def drain(self) -> None:
        """Let the client read what waits, once."""
        self.waiting = 0
        self._drained.set()
        self._drained.clear()


class FakeHistory:
    """Rooms of messages in memory, read through queries that may take a while or fail.

    A query sees what was committed when it was asked, as in a database, and is answered
    when it is let go.

    Attributes:
        questions: How many queries were asked.
        errors: What the next queries raise, one each.
    """

    def __init__(self) -> None:
        self.questions = 0
        self.errors: list[Exception] = []
        self._rooms: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self._newest = 0
        self._open = Event()
        self._open.set()

    def commit(self, room_id: int, payload: bytes | None = None) -> Publication:
        """Store a message, of which each room has its own but all share the ids."""
        self._newest += 1
        before = self.newest(room_id)
        payload = payload or b"%d" % self._newest
        self._rooms[room_id].append((self._newest, payload))
        return Publication(self._newest - 1, self._newest, room_id, "room", before, payload)

    def newest(self, room_id: int) -> int:
        """Return the newest id of a room, 0 before the first."""
        room = self._rooms[room_id]
        return room[-1][0] if room else 0

    def ids(self, room_id: int, after: int = 0) -> list[str]:
        """Return what a socket of a room has to hear, which is the ids unless `commit` was told."""
        return [payload.decode() for id_, payload in self._rooms[room_id] if id_ > after]

    def hang(self) -> None:
        """Leave queries without an answer until `answer`."""
        self._open.clear()

    def answer(self) -> None:
        """Answer what was asked, and all that will be."""
        self._open.set()

    def last_ids(self, room_ids: Collection[int]) -> Mapping[int, int]:
        return self._answered({room_id: self.newest(room_id) for room_id in room_ids})

    def after(self, room_id: int, message_id: int, limit: int) -> Sequence[tuple[int, bytes]]:
        newer = [message for message in self._rooms[room_id] if message[0] > message_id]
        return self._answered(newer[:limit])

    def _answered(self, answer: Answer) -> Answer:
        self.questions += 1
        gevent.sleep(0)  # a query always takes a turn of the loop
        self._open.wait()
        if self.errors:
            raise self.errors.pop(0)
        return answer


class FakeEvents:
    """Events in memory, read like `FakeHistory`: of members of rooms, and of nothing else.

    Attributes:
        questions: How many queries were asked.
        errors: What the next queries raise, one each.
    """

    def __init__(self) -> None:
        self.questions = 0
        self.errors: list[Exception] = []
        self.newest = 0
        self._events: list[tuple[int, int, bytes]] = []  # number, room, frame
        self._changes: dict[int, MembershipChange] = {}  # by number
        self._rooms: defaultdict[int, dict[int, tuple[int, int | None]]] = defaultdict(dict)
        self._open = Event()
        self._open.set()

    def join(self, room_id: int, user_id: int) -> Publication:
        """Let somebody become a member."""
        self._rooms[room_id][user_id] = (self.newest + 1, None)
        return self._change(room_id, user_id)

    def leave(self, room_id: int, user_id: int) -> Publication:
        """Let a member leave."""
        joined_id, _ = self._rooms[room_id][user_id]
        self._rooms[room_id][user_id] = (joined_id, self.newest + 1)
        return self._change(room_id, user_id)

    def _change(self, room_id: int, user_id: int) -> Publication:
        self.newest += 1
        change = MembershipChange(room_id, user_id, *self._rooms[room_id][user_id])
        self._changes[self.newest] = change
        return Publication(self.newest - 1, self.newest)

    def commit(self, room_id: int, payload: bytes | None = None) -> Publication:
        """Store a message."""
        self.newest += 1
        payload = payload or b"%d" % self.newest
        self._events.append((self.newest, room_id, payload))
        return Publication(self.newest - 1, self.newest, room_id, "room", 0, payload)

    def skip(self) -> None:
        """Draw a number that is never used, as a transaction does that is rolled back."""
        self.newest += 1

    def texts(self, user_id: int, after: int = 0) -> list[str]:
        """Return what somebody has to get."""
        return [frame.decode() for _, frame in self._frames(user_id, after)]

    def _frames(self, user_id: int, after: int) -> list[tuple[int, bytes]]:
        frames = [
            (number, frame)
            for number, room_id, frame in self._events
            if self._is_told(room_id, user_id, number)
        ]
        frames += [
            (number, b"joined" if change.left_id is None else b"left")
            for number, change in self._changes.items()
            if change.user_id == user_id
        ]
        return sorted(frame for frame in frames if frame[0] > after)

    def _is_told(self, room_id: int, user_id: int, number: int) -> bool:
        joined_id, left_id = self._rooms[room_id].get(user_id, (number, None))
        return joined_id < number and (left_id is None or number < left_id)

    def hang(self) -> None:
        """Leave queries without an answer until `answer`."""
        self._open.clear()

    def answer(self) -> None:
        """Answer what was asked, and all that will be."""
        self._open.set()

    def newest_event_id(self) -> int:
        return self._answered(self.newest)

    def epoch(self) -> str:
        return "epoch"

    def message_frame(self, publication: Publication) -> bytes | None:
        return publication.payload

    def members(self, room_id: int) -> Mapping[int, tuple[int, int | None]]:
        return self._answered(dict(self._rooms[room_id]))

    def events_after(self, user_id: int, after: int, limit: int) -> FramePage:
        frames = self._frames(user_id, after)
        is_last = len(frames) <= limit
        cursor = max(self.newest, after) if is_last else frames[limit - 1][0]
        return self._answered(FramePage(frames[:limit], cursor, is_last))

    def events_between(
        self, after: int, limit: int, user_ids: Collection[int], old_names: object = None
    ) -> EventPage:
        events = [RealtimeEvent(n, room, frame) for n, room, frame in self._events if n > after]
        for number, change in self._changes.items():
            if number > after:
                frame = b"joined" if change.left_id is None else b"left"
                frames = {change.user_id: frame} if change.user_id in user_ids else {}
                events.append(RealtimeEvent(number, frames=frames, change=change))
        events.sort(key=lambda event: event.id)
        is_last = len(events) <= limit
        cursor = self.newest if is_last else events[limit - 1].id
        return self._answered(EventPage(events[:limit], cursor, is_last))

    def _answered(self, answer: Answer) -> Answer:
        self.questions += 1
        gevent.sleep(0)  # a query always takes a turn of the loop
        self._open.wait()
        if self.errors:
            raise self.errors.pop(0)
        return answer
