"""Delivery: every message to every socket of its room, once and in order.

Rooms are ids and messages are bytes here; this package knows no table and no request.
`Realtime` is its one door.

The database is the truth and a ring is only a doorbell: it may be lost, doubled, late
or out of order. Each room with sockets here has a channel with a cursor; a ring that
does not follow the cursor waits a moment for those before it, then the channel reads what
is missing; and a sweep finds what nobody rang for.
"""

from collections.abc import Callable, Sequence

from app.realtime import closing, loop
from app.realtime.bus import Bus, MemoryBus, Publication, PubSubBus
from app.realtime.closing import Close
from app.realtime.connection import Connection, Listener
from app.realtime.events import Event, EventPage, EventSource, FramePage, MembershipChange
from app.realtime.history import History
from app.realtime.hub import Hub
from app.realtime.loop import monotonic
from app.realtime.postgres_pubsub import PostgresPubSub
from app.realtime.redis_pubsub import RedisPubSub
from app.realtime.stats import Stats

__all__ = [
    "Bus",
    "Close",
    "Connection",
    "Event",
    "EventPage",
    "EventSource",
    "FramePage",
    "History",
    "Listener",
    "MembershipChange",
    "MemoryBus",
    "PostgresPubSub",
    "PubSubBus",
    "Publication",
    "Realtime",
    "RedisPubSub",
    "Stats",
    "closing",
]

GOODBYE_SECONDS = 2.0  # how long clients may take to answer our goodbye when the worker stops


class Realtime:
    """Sockets and rings of one worker.

    Args:
        history: What rings cannot tell: the messages in the database.
        bus: How the other workers hear of ours.
        sockets_max: How many sockets may be open here at a time.
    """

    def __init__(self, history: History, bus: Bus, sockets_max: int) -> None:
        self._hub = Hub(history, bus)
        self._bus = bus
        self._sockets_max = sockets_max
        self._reserved = 0  # handshakes that may become sockets
        self._is_started = False
        self.is_stopping = False
        self._has_stopped = loop.Event()

    def start(self) -> None:
        """Come to life; once, in the worker that serves. Before it there is no room for sockets."""
        self._hub.start()
        self._is_started = True

    def has_room(self) -> bool:
        """Tell whether this worker may take one more socket."""
        return (
            self._is_started
            and not self.is_stopping
            and len(self._hub.connections) + self._reserved < self._sockets_max
        )

    def reserve(self) -> bool:
        """Keep a place for a socket whose handshake has begun; tell whether there was one.

        A handshake waits for the database, and all who come meanwhile would be promised the
        same place. Whoever got one gives it back by `release` when the handshake is over,
        whatever became of it: an open socket is counted as such.
        """
        if not self.has_room():
            return False
        self._reserved += 1
        return True

    def release(self) -> None:
        """Give back what `reserve` has kept."""
        self._reserved -= 1

    @property
    def sockets(self) -> int:
        """How many sockets are open here."""
        return len(self._hub.connections)

    @property
    def stats(self) -> Stats:
        """What they have seen so far."""
        return self._hub.stats

    def bus_is_healthy(self) -> bool:
        """Tell whether rings reach the other workers at the moment."""
        return self._bus.is_healthy()

    def open(self, descriptor: int, listener: Listener) -> Connection:
        """Take over a connected socket after its handshake.

        Args:
            descriptor: Ours from now on, to close as well.
            listener: Who is told what the client says.
        """
        connection = self._hub.open(descriptor, listener)
        if self.is_stopping:  # there was room when the handshake began
            # Not at once: its listener does not have it yet, and would be told of its end.
            loop.spawn(connection.close, closing.RESTARTING)
        return connection

    def join(self, connection: Connection, room_id: int, latest: int, after: int) -> None:
        """Let a socket hear every message of a room after an id, the old ones first.

        Args:
            connection: The socket.
            room_id: The room.
            latest: The room's newest message id, looked up **before** the client saw the
                socket open: what is committed later is delivered.
            after: The last message that the client has, at most `latest`.
        """
        self._hub.join(connection, room_id, latest, after)

    def leave(self, connection: Connection, room_id: int | None) -> None:
        """Forget a socket that is closed."""
        self._hub.leave(connection, room_id)

    def repeat(self, connection: Connection, room_id: int, message_id: int, payload: bytes) -> None:
        """Send a stored message to one socket once more, after all that is older."""
        channel = self._hub.channels.get(room_id)
        if channel is not None:
            channel.repeat(connection, message_id, payload)

    def publish(self, publications: Sequence[Publication]) -> None:
        """Deliver messages that were committed: here at once, elsewhere by the bus."""
        self._hub.publish(publications)
        self._bus.publish(publications)

    def stop(self, finish: Callable[[], None], close: Close = closing.RESTARTING) -> None:
        """Say goodbye to every socket and take no more. A second call waits for the first.

        Args:
            finish: Is called once nothing more is taken in and before the goodbye: it
                lets what was taken in come to its end, echoes included.
            close: How to say it.
        """
        if self.is_stopping:
            self._has_stopped.wait()
            return
        self.is_stopping = True
        try:
            finish()
            self._hub.close_all(close)
            deadline = monotonic() + GOODBYE_SECONDS
            while self._hub.connections and monotonic() < deadline:
                loop.sleep(0.02)
        finally:
            self._hub.abort_all()
            self._bus.stop()
            self._has_stopped.set()
