"""How workers tell each other that something was said. A doorbell: the database is the truth.

A ring may be lost, doubled, late or out of order; nothing breaks. So a bus never holds
its caller back, and what it cannot send it drops.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import NamedTuple, Protocol, TypeAlias

import orjson

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0  # how often a worker rings for itself, to hear whether it does
UNHEALTHY_SECONDS = 2.5  # so long without a ring of one's own, and the line counts as broken
ALONE_SECONDS = 2.5  # so long without a ring or a beat of others, and there are none
PAUSE_SECONDS = 0.5  # between two attempts to connect
QUEUED_MAX = 5_000  # rings that wait to be published; then the oldest are dropped


class Publication(NamedTuple):
    """A message was committed.

    Attributes:
        room_id: Where.
        prev_id: The id of the message before it in this room, 0 for the first.
        id: Its own.
        payload: The message as its readers get it (JSON); None where a bus could not carry
            so much, and it has to be read from the database.
    """

    room_id: int
    prev_id: int
    id: int
    payload: bytes | None


Published: TypeAlias = Callable[[Sequence[Publication]], None]


class Bus(Protocol):
    """Carries rings to the other workers and machines."""

    def start(self, published: Published, recovered: Callable[[], None]) -> None:
        """Begin to listen.

        Args:
            rung: Is called, in the loop's thread, with what the others ring.
            recovered: Is called, there too, when rings may have been lost and no longer are.
        """

    def publish(self, publications: Sequence[Publication]) -> None:
        """Tell the others. Never waits, never raises."""

    def is_healthy(self) -> bool:
        """Tell whether rings arrive at the moment, as far as one can know."""

    def stop(self) -> None:
        """Carry no more."""


class MemoryBus:
    """The bus of a lonely worker: there are no others, so nothing can be lost."""

    def start(self, published: Published, recovered: Callable[[], None]) -> None:
        """Nothing to begin."""

    def publish(self, publications: Sequence[Publication]) -> None:
        """Nobody to tell."""

    def is_healthy(self) -> bool:
        return True

    def stop(self) -> None:
        """Nothing to end."""


class PubSubConnection(Protocol):
    """One connection to what carries the messages, used by one thread. Any method may raise."""

    def send(self, message: bytes) -> None:
        """Send a message to all who listen, ourselves included."""

    def receive(self) -> Sequence[bytes]:
        """Return the next messages, or nothing if there is none for about a second."""

    def close(self) -> None:
        """Hang up."""


class PubSubBackend(Protocol):
    """Where lines are had: a Redis, or a PostgreSQL."""

    message_bytes: int  # the largest message that it carries

    def connect_publisher(self) -> PubSubConnection:
        """Connect in order to send; waits a few seconds at most."""

    def connect_subscriber(self) -> PubSubConnection:
        """Connect in order to receive all that is sent from now on; waits likewise."""


class PubSubBus:
    """A bus over an exchange that may hang, vanish and come back.

    Two threads of its own (greenlets, in a worker) hold a line each: one sends, the other
    listens. Once a second the worker rings for itself; while it hears itself, the bus is
    well. That one check sees whatever can be wrong: a broker that is down or frozen, a
    network that has gone silent, a subscription that got lost.

    Args:
        exchange: Where to connect.
    """

    def __init__(self, exchange: PubSubBackend) -> None:
        self._exchange = exchange
        self._origin = secrets.token_hex(8)
        self._queue: deque[Publication] = deque(maxlen=QUEUED_MAX)
        self._wake = threading.Event()
        self._heard_at = float("-inf")  # when this worker last heard itself
        self._others_at = monotonic()  # … and another one; there may be some at first
        self._is_noted_deaf = True
        self._stopped = False

    def start(self, published: Published, recovered: Callable[[], None]) -> None:
        for target in (self._send_forever, lambda: self._listen_forever(published, recovered)):
            threading.Thread(target=target, name="bus", daemon=True).start()

    def publish(self, publications: Sequence[Publication]) -> None:
        # To tell nobody costs as much as to tell somebody: a sixth of a message on PostgreSQL.
        if self._is_alone():
            return
        self._queue.extend(publications)
        self._wake.set()

    def _is_alone(self) -> bool:
        # Who hears itself would hear others' beats. One that begins in this moment may miss a ring,
        # which its sweep then finds.
        return self.is_healthy() and monotonic() - self._others_at > ALONE_SECONDS

    def is_healthy(self) -> bool:
        return monotonic() - self._heard_at < UNHEALTHY_SECONDS

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def _send_forever(self) -> None:
        while not self._stopped:
            try:
                line = self._exchange.connect_publisher()
                try:
                    self._send(line)
                finally:
                    line.close()
            except Exception as error:
                log.debug("bus cannot send: %s", type(error).__name__)
                self._pause()

    def _send(self, line: PubSubConnection) -> None:
        while not self._stopped:
            publications = [self._queue.popleft() for _ in range(len(self._queue))]
            for message in pack(self._origin, publications, self._exchange.message_bytes):
                line.send(message)
            self._wake.wait(BEAT_SECONDS)
            self._wake.clear()

    def _listen_forever(self, published: Published, recovered: Callable[[], None]) -> None:
        while not self._stopped:
            try:
                line = self._exchange.connect_subscriber()
                try:
                    self._listen(line, published, recovered)
                finally:
                    line.close()
            except Exception as error:
                log.debug("bus cannot listen: %s", type(error).__name__)
                self._note_unhealthy()
                self._pause()

    def _listen(
        self, line: PubSubConnection, published: Published, recovered: Callable[[], None]
    ) -> None:
        since = monotonic()
        own = _head(self._origin)
        while not self._stopped:
            for message in line.receive():
                if message.startswith(own):  # which nobody has to take apart
                    was_well = self.is_healthy()
                    self._heard_at = monotonic()
                    if not was_well:
                        # The others may be heard a moment later, and are not gone until then.
                        self._others_at = self._heard_at
                        self._is_noted_deaf = False
                        log.info("bus is well")
                        recovered()
                else:
                    self._others_at = monotonic()
                    _, publications = unpack(message)
                    published(publications)
            if monotonic() - max(since, self._heard_at) > UNHEALTHY_SECONDS:
                raise TimeoutError("this worker does not hear itself")

    def _note_unhealthy(self) -> None:
        self._heard_at = float("-inf")
        if not self._is_noted_deaf:
            self._is_noted_deaf = True
            log.warning("bus is unwell: messages of other workers arrive up to a second late")

    def _pause(self) -> None:
        threading.Event().wait(PAUSE_SECONDS)


def pack(origin: str, publications: Sequence[Publication], message_bytes: int) -> Iterator[bytes]:
    """Yield messages that carry rings; one without any if there are none.

    Args:
        origin: Who sends them.
        rings: What to carry. One whose payload does not fit goes without it.
        message_bytes: How large a message may be.
    """
    head = _head(origin)
    parts = [head]
    size = len(head) + 1
    for publication in publications:
        part = _packed(publication, publication.payload)
        if len(head) + len(part) + 2 > message_bytes:
            part = _packed(publication, None)
        if size + len(part) + 1 > message_bytes:
            yield b",".join(parts) + b"]"
            parts, size = [head], len(head) + 1
        parts.append(part)
        size += len(part) + 1
    yield b",".join(parts) + b"]"


def _head(origin: str) -> bytes:
    return b"[" + orjson.dumps(origin)


def _packed(publication: Publication, payload: bytes | None) -> bytes:
    text = None if payload is None else payload.decode()
    return orjson.dumps((publication.room_id, publication.prev_id, publication.id, text))


def unpack(message: bytes) -> tuple[str, list[Publication]]:
    """Return the origin and the rings of a message that `pack` made.

    Raises:
        ValueError: It is none.
    """
    origin, *publications = orjson.loads(message)
    return origin, [
        Publication(room_id, prev_id, ring_id, None if text is None else text.encode())
        for room_id, prev_id, ring_id, text in publications
    ]
