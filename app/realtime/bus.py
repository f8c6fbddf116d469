"""How workers tell each other what was committed. A notification only: the database is the truth.

A publication may be lost, doubled, late or out of order; nothing breaks. So a bus never blocks
its caller, and drops what it cannot send.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol, TypeAlias

from app.realtime.events import Publication, Signal
from app.realtime.packing import head_of, pack, unpack

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0  # how often a worker publishes for itself, to see whether it arrives
UNHEALTHY_SECONDS = 2.5  # without a heartbeat of one's own for so long the connection is broken
ALONE_SECONDS = 2.5  # without anything from others for so long there are none
PAUSE_SECONDS = 0.5  # between two attempts to connect
QUEUED_MAX = 5_000  # publications that wait to be sent; then the oldest are dropped

OnPublications: TypeAlias = Callable[[Sequence[Publication | Signal]], None]


class Bus(Protocol):
    """Carries publications to the other workers and machines.

    Attributes:
        has_others: Whether there may be other workers at all.
    """

    has_others: bool

    def start(self, on_publications: OnPublications, on_recovery: Callable[[], None]) -> None:
        """Begin to listen.

        Args:
            on_publications: Is called, in the loop's thread, with what the others publish.
            on_recovery: Is called, there too, when publications may have been lost and no longer
                are.
        """

    def publish(self, publications: Sequence[Publication | Signal]) -> None:
        """Tell the others. Never waits, never raises."""

    def is_healthy(self) -> bool:
        """Tell whether publications arrive at the moment, as far as one can know."""

    def stop(self) -> None:
        """Carry no more."""


class MemoryBus:
    """The bus of a single worker, with no other to tell.

    What is stored beside it, by a worker that ends after a reload or by a command, is found when
    the hub reconciles.
    """

    has_others = False

    def start(self, on_publications: OnPublications, on_recovery: Callable[[], None]) -> None:
        """Nothing to begin."""

    def publish(self, publications: Sequence[Publication | Signal]) -> None:
        """Nobody to tell."""

    def is_healthy(self) -> bool:
        return True

    def stop(self) -> None:
        """Nothing to end."""


class PubSubConnection(Protocol):
    """One connection to a backend, used by one thread.

    Raises:
        PubSubError: The connection is lost, or never came about.
    """

    def send(self, message: bytes) -> None:
        """Send a message to all who listen, this worker included."""

    def receive(self) -> Sequence[bytes]:
        """Return the next messages, or nothing if there is none for about a second."""

    def close(self) -> None:
        """Close the connection."""


class PubSubError(Exception):
    """A backend cannot be reached, or does not answer."""


class PubSubBackend(Protocol):
    """Makes connections to a Redis or a PostgreSQL.

    Raises:
        PubSubError: It cannot be reached.
    """

    message_bytes: int  # the largest message that it carries

    def connect_publisher(self) -> PubSubConnection:
        """Connect in order to send; waits a few seconds at most."""

    def connect_subscriber(self) -> PubSubConnection:
        """Connect in order to receive all that is sent from now on; waits likewise."""


class PubSubBus:
    """A bus over a backend that may hang, vanish and come back.

    Two threads of its own (greenlets, in a worker) hold a connection each: one sends, the other
    listens. Once a second the worker publishes a heartbeat; while it receives its own, the bus is
    healthy. That one check sees whatever can be wrong: a broker that is down or frozen, a
    network that has gone silent, a subscription that got lost.

    Args:
        backend: Where to connect.
    """

    has_others = True

    def __init__(self, backend: PubSubBackend) -> None:
        self._backend = backend
        self._origin = secrets.token_hex(8)
        self._queue: deque[Publication | Signal] = deque(maxlen=QUEUED_MAX)
        self._wake = threading.Event()
        self._own_at = float("-inf")  # when this worker last received its own heartbeat
        self._others_at = monotonic()  # … and anything of another; there may be some at first
        self._is_noted_unhealthy = False
        self._stopped = False

    def start(self, on_publications: OnPublications, on_recovery: Callable[[], None]) -> None:
        for target in (
            self._send_forever,
            lambda: self._listen_forever(on_publications, on_recovery),
        ):
            threading.Thread(target=target, name="bus", daemon=True).start()

    def publish(self, publications: Sequence[Publication | Signal]) -> None:
        # Publishing costs the same with no listeners (a sixth of a message on PostgreSQL).
        if self._is_alone():
            return
        self._queue.extend(publications)
        self._wake.set()

    def _is_alone(self) -> bool:
        # A worker that receives its own heartbeats would receive those of others. One that starts
        # in this moment may miss a publication, which its reconciliation then finds.
        return self.is_healthy() and monotonic() - self._others_at > ALONE_SECONDS

    def is_healthy(self) -> bool:
        return monotonic() - self._own_at < UNHEALTHY_SECONDS

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def _send_forever(self) -> None:
        while not self._stopped:
            try:
                connection = self._backend.connect_publisher()
                try:
                    self._send(connection)
                finally:
                    connection.close()
            except PubSubError as error:
                self._note_unhealthy(error)
            except Exception:
                log.exception("defect while publications were sent")
            self._pause()

    def _send(self, connection: PubSubConnection) -> None:
        while not self._stopped:
            publications = [self._queue.popleft() for _ in range(len(self._queue))]
            for message in pack(self._origin, publications, self._backend.message_bytes):
                connection.send(message)
            self._wake.wait(HEARTBEAT_SECONDS)
            self._wake.clear()

    def _listen_forever(
        self, on_publications: OnPublications, on_recovery: Callable[[], None]
    ) -> None:
        while not self._stopped:
            try:
                connection = self._backend.connect_subscriber()
                try:
                    self._listen(connection, on_publications, on_recovery)
                finally:
                    connection.close()
            except PubSubError as error:
                self._own_at = float("-inf")
                self._note_unhealthy(error)
            except Exception:
                self._own_at = float("-inf")
                log.exception("defect while the bus was listened to")
            self._pause()

    def _listen(
        self,
        connection: PubSubConnection,
        on_publications: OnPublications,
        on_recovery: Callable[[], None],
    ) -> None:
        since = monotonic()
        own = head_of(self._origin)
        while not self._stopped:
            for message in connection.receive():
                if message.startswith(own):  # a heartbeat, whatever else it carries
                    was_healthy = self.is_healthy()
                    self._own_at = monotonic()
                    if not was_healthy:
                        # Others may be received a moment later, and are not gone until then.
                        self._others_at = self._own_at
                        self._is_noted_unhealthy = False
                        log.info("bus is healthy")
                        on_recovery()
                else:
                    self._others_at = monotonic()
                    self._hand_over(message, on_publications)
            if monotonic() - max(since, self._own_at) > UNHEALTHY_SECONDS:
                raise PubSubError("no heartbeat of this worker arrives")

    def _hand_over(self, message: bytes, on_publications: OnPublications) -> None:
        # A defect here is none of the connection, which goes on.
        try:
            on_publications(unpack(message)[1])
        except Exception:
            log.exception("defect while publications of another worker were delivered")

    def _note_unhealthy(self, error: PubSubError) -> None:
        if not self._is_noted_unhealthy and not self._stopped:
            self._is_noted_unhealthy = True
            log.warning(
                "bus cannot connect: messages of other workers arrive up to a second late: %s",
                error,
            )

    def _pause(self) -> None:
        if not self._stopped:
            threading.Event().wait(PAUSE_SECONDS)
