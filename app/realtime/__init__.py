"""Delivery: every message to every socket of its room, once and in order.

Rooms are ids and messages are bytes here; this package knows no table and no request.
`Realtime` is its one door.

The database is the truth and a publication is only a notification: it may be lost, doubled, late
or out of order. Each room with sockets here has a channel with a cursor. A publication that does
not follow the cursor waits a moment for those before it, then the channel reads what is missing.
Reconciliation finds what nobody published.
"""

from collections.abc import Callable, Mapping, Sequence

from app.realtime import closing, loop
from app.realtime.bus import Bus, MemoryBus, PubSubBus
from app.realtime.closing import Close
from app.realtime.connection import Connection, Listener
from app.realtime.events import (
    Event,
    EventPage,
    EventSource,
    FramePage,
    MembershipChange,
    Publication,
    Signal,
)
from app.realtime.feed import BEAT_SECONDS, Feed
from app.realtime.history import History, HistoryUnavailableError
from app.realtime.hub import Hub
from app.realtime.loop import monotonic
from app.realtime.pace import Pace
from app.realtime.packing import packed_names
from app.realtime.polls import Polls
from app.realtime.postgres_pubsub import PostgresPubSub
from app.realtime.redis_pubsub import RedisPubSub
from app.realtime.stats import Stats
from app.realtime.subscription import StreamSubscription, Subscription

__all__ = [
    "BEAT_SECONDS",
    "Bus",
    "Close",
    "Connection",
    "Event",
    "EventPage",
    "EventSource",
    "Feed",
    "FramePage",
    "History",
    "HistoryUnavailableError",
    "Listener",
    "MembershipChange",
    "MemoryBus",
    "Pace",
    "PostgresPubSub",
    "PubSubBus",
    "Publication",
    "Realtime",
    "RedisPubSub",
    "Signal",
    "Stats",
    "StreamSubscription",
    "Subscription",
    "closing",
]

STOP_SECONDS = 2.0  # how long clients may take to answer our close frame when the worker stops


class Realtime:
    """The sockets of one worker, and what is published to them.

    Args:
        history: The messages in the database, for what publications do not bring.
        events: The events in the database, for streams.
        bus: How other workers learn of ours.
        sockets_max: How many sockets may be open here at a time.
    """

    def __init__(self, history: History, events: EventSource, bus: Bus, sockets_max: int) -> None:
        self._hub = Hub(history, events, bus)
        self.polls = Polls(self._hub.feed)
        self._bus = bus
        self._sockets_max = sockets_max
        self._reserved = 0  # handshakes that may become sockets
        self.is_started = False
        self.is_stopping = False
        self._has_stopped = loop.Event()

    def start(self) -> None:
        """Begin to serve, once, in a worker. Before it there is no room for sockets."""
        self._hub.start()
        self.is_started = True

    def has_room(self) -> bool:
        """Tell whether this worker may take one more socket."""
        return (
            self.is_started
            and not self.is_stopping
            and self._hub.admitted + self._reserved < self._sockets_max
        )

    def reserve(self) -> bool:
        """Reserve a place for a socket whose handshake has begun; tell whether there was one.

        A handshake waits for the database, and others that begin meanwhile must not count on the
        same place. `release` gives it back when the handshake is over, with or without success:
        an open socket is counted as such.
        """
        if not self.has_room():
            return False
        self._reserved += 1
        return True

    def release(self) -> None:
        """Give back a place that `reserve` has kept."""
        self._reserved -= 1

    @property
    def sockets(self) -> int:
        """How many sockets are open here, without those that were refused."""
        return self._hub.admitted

    @property
    def stats(self) -> Stats:
        """What the sockets have seen so far."""
        return self._hub.stats

    def bus_is_healthy(self) -> bool:
        """Tell whether publications reach the other workers at the moment."""
        return self._bus.is_healthy()

    def wait_turn(self) -> None:
        """Wait for a turn to do what many clients may ask for at once, such as a handshake."""
        self._hub.pace.wait_turn()

    def open(self, descriptor: int, listener: Listener) -> Connection:
        """Take over a connected socket after its handshake.

        Args:
            descriptor: The connection owns and closes it from now on.
            listener: Gets the client's texts.
        """
        connection = self._hub.open(descriptor, listener)
        if self.is_stopping:  # there was room when the handshake began
            # Not at once: the listener does not have the connection yet.
            loop.spawn(connection.close, closing.RESTARTING)
        return connection

    def refuse(self, connection: Connection, close: Close) -> None:
        """Close a socket that is not let in: it gets 2 seconds, and takes nobody's place."""
        self._hub.refuse(connection, close)

    def forget(self, connection: Connection) -> None:
        """Forget a socket that is closed."""
        self._hub.forget(connection)

    def join(self, connection: Connection, room_id: int, latest: int, after: int) -> Subscription:
        """Subscribe a socket to every message of a room after an id, the old ones first.

        Args:
            connection: The socket.
            room_id: The room.
            latest: The room's newest message id, looked up **before** the client saw the
                socket open: what is committed later is delivered.
            after: The last message that the client has, at most `latest`.
        """
        return self._hub.join(connection, room_id, latest, after)

    def leave(self, room_id: int, subscription: Subscription) -> None:
        """End a subscription to a room."""
        self._hub.leave(room_id, subscription)

    def resend(
        self, room_id: int, subscription: Subscription, message_id: int, payload: bytes
    ) -> None:
        """Send a stored message to one socket once more, after everything older."""
        channel = self._hub.channels.get(room_id)
        if channel is not None:
            channel.resend(subscription, message_id, payload)

    @property
    def feed(self) -> Feed:
        """The streams of this worker."""
        return self._hub.feed

    def on_signals(self, take: Callable[[Signal], None]) -> None:
        """Let a function be called, in the loop's thread, with signals of the other workers."""
        self._hub.on_signal = take

    def send_signal(self, signal: Signal) -> None:
        """Send a signal to the other workers. It may be lost."""
        self._bus.publish([signal])

    def publish(self, publications: Sequence[Publication]) -> None:
        """Deliver what was committed: here at once, elsewhere by the bus."""
        self._hub.publish(publications)
        self._bus.publish(publications)

    def announce(self, numbers: range, old_names: Mapping[int, str] | None = None) -> None:
        """Tell all workers of changes that were committed and are no new messages.

        Args:
            numbers: The event ids of one transaction; nobody is told of none.
            old_names: What something was called before, by event id.
        """
        if numbers:
            payload = packed_names(old_names) if old_names else None
            self.publish([Publication(numbers[0] - 1, numbers[-1], payload=payload)])

    def reconcile(self) -> None:
        """Deliver soon what other workers have stored and did not publish here."""
        self._hub.reconcile_soon()

    def stop(self, finish: Callable[[], None], close: Close = closing.RESTARTING) -> None:
        """Close every socket and take no more. A second call waits for the first.

        Args:
            finish: Is called when nothing more is taken in, before the sockets are closed: it
                waits until what was taken in is stored and answered.
            close: Why, for the close frames.
        """
        if self.is_stopping:
            self._has_stopped.wait()
            return
        self.is_stopping = self.polls.is_stopping = True
        try:
            finish()
            self._hub.close_all(close)
            deadline = monotonic() + STOP_SECONDS
            while self._is_busy() and monotonic() < deadline:
                loop.sleep(0.02)
        finally:
            self._hub.abort_all()
            self._bus.stop()
            self._has_stopped.set()

    def _is_busy(self) -> bool:
        # Reads for streams have to end before the process does.
        return bool(self._hub.connections) or self._hub.feed.is_reading
