"""All sockets and channels of one worker, and the two loops that look after them.

Owns the only references to connections and channels. Touched in the loop's thread only.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable

from app.realtime import closing
from app.realtime.bus import Bus, Publication
from app.realtime.channel import Channel
from app.realtime.closing import Close
from app.realtime.connection import Connection, Listener
from app.realtime.history import History
from app.realtime.loop import monotonic, sleep, spawn
from app.realtime.stats import Stats

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
RECONCILE_SECONDS = 2.0  # between two looks at the database while the bus is well
UNHEALTHY_RECONCILE_SECONDS = 1.0  # … and while it is not, and rings are lost


class Hub:
    """The rooms with sockets on this worker.

    Args:
        history: Where missed messages are read.
        bus: Where the other workers ring.
    """

    def __init__(self, history: History, bus: Bus) -> None:
        self.connections: set[Connection] = set()
        self.channels: dict[int, Channel] = {}
        self.stats = Stats()
        self._history = history
        self._bus = bus

    def start(self) -> None:
        """Begin to listen and to look after the sockets."""
        self._bus.start(self.publish, lambda: spawn(self.reconcile))
        spawn(self._beat)
        spawn(self._reconcile)

    def open(self, descriptor: int, listener: Listener) -> Connection:
        """Take over a socket after its handshake."""
        connection = Connection(descriptor, listener)
        self.connections.add(connection)
        return connection

    def join(self, connection: Connection, room_id: int, latest: int, after: int) -> None:
        """Let a socket hear a room.

        Args:
            connection: The socket.
            room_id: The room.
            latest: The room's newest message id, looked up before the socket's client
                saw it open.
            after: The id of the last message that the client has, at most `latest`.
        """
        connection.cursor = after
        channel = self.channels.get(room_id)
        if channel is None:
            # Nobody here was told of what came between the look-up and this moment.
            channel = Channel(room_id, latest, self._history, self.stats)
            self.channels[room_id] = channel
            channel.join(connection)
            channel.fill()
        else:
            channel.join(connection)
            if latest > channel.cursor:
                channel.fill()

    def leave(self, connection: Connection, room_id: int | None) -> None:
        """Forget a socket that is gone."""
        self.connections.discard(connection)
        self.stats.closes[connection.code, connection.is_closed_by_us] += 1
        channel = self.channels.get(room_id) if room_id is not None else None
        if channel is not None:
            channel.leave(connection)
            if not channel.members:
                del self.channels[channel.room_id]

    def publish(self, publications: Iterable[Publication]) -> None:
        """Deliver what was committed to the sockets here."""
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
        """Ask the database for what rings have missed. Waits; never raises."""
        cursors = {room_id: channel.cursor for room_id, channel in self.channels.items()}
        if not cursors:
            return
        try:
            last_ids = self._history.last_ids(cursors.keys())
        except Exception as error:
            log.warning("sweep waits for the database: %s", type(error).__name__)
            return
        for room_id, last_id in last_ids.items():
            channel = self.channels.get(room_id)
            if channel is not None and last_id > channel.cursor:
                self.stats.reconciled += 1
                channel.fill()

    def close_all(self, close: Close = closing.RESTARTING) -> None:
        """Say goodbye to everybody."""
        for connection in tuple(self.connections):
            connection.close(close)

    def abort_all(self) -> None:
        """Hang up on everybody who has not answered our goodbye."""
        for connection in tuple(self.connections):
            connection.abort()

    def _beat(self) -> None:
        while True:
            sleep(BEAT_SECONDS)
            now = monotonic()
            for connection in tuple(self.connections):
                try:
                    connection.beat(now)
                except Exception:
                    log.exception("defect in one heart; the others beat on")

    def _reconcile(self) -> None:
        while True:
            sleep(RECONCILE_SECONDS if self._bus.is_healthy() else UNHEALTHY_RECONCILE_SECONDS)
            self.reconcile()
