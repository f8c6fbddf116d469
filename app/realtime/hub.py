"""All sockets and channels of one worker, and the two loops that look after them.

Owns the only references to connections and channels. Touched in the loop's thread only.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

from app.realtime import closing
from app.realtime.bus import Bus
from app.realtime.channel import Channel
from app.realtime.closing import Close
from app.realtime.connection import Connection, Listener
from app.realtime.events import EventSource, Publication, Signal
from app.realtime.feed import Feed
from app.realtime.history import History, HistoryUnavailableError
from app.realtime.loop import monotonic, sleep, spawn
from app.realtime.pace import Pace
from app.realtime.stats import Stats
from app.realtime.subscription import Subscription

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
RECONCILE_SECONDS = 2.0  # between two looks at the database while publications arrive
UNHEALTHY_RECONCILE_SECONDS = 1.0  # … while they are lost
ALONE_RECONCILE_SECONDS = 30.0  # … where no other worker can publish anything
REFUSED_MAX = 1_000  # refused sockets that may wait for their client's close frame at a time


class Hub:
    """The rooms with sockets on this worker.

    Args:
        history: Where missed messages are read.
        events: Where the events of streams are read.
        bus: Where the other workers publish.

    Attributes:
        pace: Gives turns to what many clients ask for at once.
        on_signal: Is called, in the loop's thread, with signals of the other workers.
    """

    def __init__(self, history: History, events: EventSource, bus: Bus) -> None:
        self.connections: set[Connection] = set()
        self.channels: dict[int, Channel] = {}
        self.stats = Stats()
        self.pace = Pace()
        self.feed = Feed(events, self.stats, self.pace)
        self.on_signal: Callable[[Signal], None] = lambda _: None
        self._history = history
        self._bus = bus
        self._refused: dict[Connection, None] = {}  # the oldest first

    def start(self) -> None:
        """Begin to listen to the bus and to look after the sockets."""
        self._bus.start(self._on_publications, self.reconcile_soon)
        spawn(self._beat_forever)
        spawn(self._reconcile_forever)
        spawn(self._reconcile_feed_forever)

    def _on_publications(self, parts: Sequence[Publication | Signal]) -> None:
        self.publish([part for part in parts if isinstance(part, Publication)])
        for part in parts:
            if isinstance(part, Signal):
                self.on_signal(part)

    def reconcile_soon(self) -> None:
        """Ask the database, without waiting here, for what publications have missed."""
        spawn(self.reconcile)
        spawn(self.feed.reconcile)

    @property
    def admitted(self) -> int:
        """How many sockets are open that were not refused."""
        return len(self.connections) - len(self._refused)

    def open(self, descriptor: int, listener: Listener) -> Connection:
        """Take over a socket after its handshake."""
        connection = Connection(descriptor, listener)
        self.connections.add(connection)
        return connection

    def refuse(self, connection: Connection, close: Close) -> None:
        """Close a socket that is not let in; it takes nobody's place."""
        if len(self._refused) >= REFUSED_MAX:
            next(iter(self._refused)).abort()
        self._refused[connection] = None
        connection.refuse(close)

    def forget(self, connection: Connection) -> None:
        """Forget a socket that is gone."""
        self.connections.discard(connection)
        self._refused.pop(connection, None)
        self.stats.closes[connection.code, connection.is_closed_by_us] += 1

    def join(self, connection: Connection, room_id: int, latest: int, after: int) -> Subscription:
        """Subscribe a socket to a room.

        Args:
            connection: The socket.
            room_id: The room.
            latest: The room's newest message id, looked up before the socket's client
                saw it open.
            after: The id of the last message that the client has, at most `latest`.
        """
        subscription = Subscription(connection, after)
        channel = self.channels.get(room_id)
        if channel is None:
            # Nothing was delivered here between the look-up and this moment.
            channel = Channel(room_id, latest, self._history, self.stats)
            self.channels[room_id] = channel
            channel.join(subscription)
            channel.backfill()
        else:
            channel.join(subscription)
            if latest > channel.cursor:
                channel.backfill()
        return subscription

    def leave(self, room_id: int, subscription: Subscription) -> None:
        """End a subscription to a room."""
        channel = self.channels.get(room_id)
        if channel is not None:
            channel.leave(subscription)
            if not channel.members:
                del self.channels[room_id]

    def publish(self, publications: Sequence[Publication]) -> None:
        """Deliver to the sockets here what was committed."""
        self.feed.publish(publications)
        if not self.channels:
            return
        by_room: defaultdict[int, list[Publication]] = defaultdict(list)
        for publication in publications:
            if publication.room_id in self.channels:
                by_room[publication.room_id].append(publication)
        for room_id, of_room in by_room.items():
            if channel := self.channels.get(room_id):
                channel.publish(of_room)

    def reconcile(self) -> None:
        """Ask the database for what publications have missed. Waits; never raises."""
        cursors = {room_id: channel.cursor for room_id, channel in self.channels.items()}
        if not cursors:
            return
        try:
            last_ids = self._history.last_ids(cursors.keys())
        except HistoryUnavailableError as error:
            log.warning("reconciliation waits for the database: %s", error)
            return
        except Exception:
            log.exception("defect while reconciling with the database")
            return
        for room_id, last_id in last_ids.items():
            channel = self.channels.get(room_id)
            if channel is not None and last_id > channel.cursor:
                self.stats.reconciled += 1
                channel.backfill()

    def close_all(self, close: Close = closing.RESTARTING) -> None:
        """Send everybody a close frame."""
        for connection in tuple(self.connections):
            connection.close(close)

    def abort_all(self) -> None:
        """Close everybody who has not answered the close frame."""
        for connection in tuple(self.connections):
            connection.abort()

    def _beat_forever(self) -> None:
        while True:
            sleep(HEARTBEAT_SECONDS)
            now = monotonic()
            for connection in tuple(self.connections):
                try:
                    connection.beat(now)
                except Exception:
                    log.exception("defect in the heartbeat of one socket; the others go on")
            try:
                self.feed.beat(now)
            except Exception:
                log.exception("defect in the heartbeat of streams")

    def _reconcile_forever(self) -> None:
        while True:
            if not self._bus.is_healthy():
                sleep(UNHEALTHY_RECONCILE_SECONDS)
            else:
                sleep(RECONCILE_SECONDS if self._bus.has_others else ALONE_RECONCILE_SECONDS)
            self.reconcile()

    def _reconcile_feed_forever(self) -> None:
        while True:
            # Also where no other worker is: what an operator does from the command line is not
            # published.
            is_healthy = self._bus.is_healthy()
            sleep(RECONCILE_SECONDS if is_healthy else UNHEALTHY_RECONCILE_SECONDS)
            self.feed.reconcile()
