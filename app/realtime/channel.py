"""One room that has sockets here: who hears it, and how far it has been told.

The cursor is the id of the last message delivered to the live sockets. A ring that
follows it is delivered as it is, an older one is an echo, and anything else came too
early: it waits a moment for the ones before it, which another worker has committed and
rings for as well. What does not come in that moment is read from the database.
"""

import logging
from collections.abc import Iterator, Sequence

from app.realtime.bus import Publication
from app.realtime.connection import OUTBOX_BYTES, Connection
from app.realtime.frames import text_frame
from app.realtime.history import History
from app.realtime.loop import monotonic, sleep, spawn
from app.realtime.stats import Stats

log = logging.getLogger(__name__)

PART_BYTES = 256 * 1024  # delivered at a time: well below what may wait in an outbox
PAGE = 100  # messages read at a time to fill a gap or to replay
PACE_SECONDS = 0.5  # how long a part may wait for those who still read the one before
EARLY_SECONDS = 0.05  # how long a ring waits for those before it: ten times what they usually need
EARLY_MAX = 64  # rings of one room that may wait
RETRY_SECONDS = 1.0  # between two attempts to read what a resuming socket asked for


class Channel:
    """A room with sockets on this worker.

    Touched in the loop's thread only. No method yields but `_fill`, `_replay` and
    `_await_early`, which run in greenlets of their own and look anew after every wait.

    Args:
        room_id: Which room.
        cursor: A message id up to which nothing has to be delivered any more.
        history: Where gaps are read.
        tally: Where what is handed out is counted.
    """

    __slots__ = (
        "_early",
        "_filling",
        "_history",
        "_is_awaiting",
        "_repeats",
        "_stale",
        "_tally",
        "cursor",
        "live",
        "members",
        "room_id",
    )

    def __init__(self, room_id: int, cursor: int, history: History, stats: Stats) -> None:
        self.room_id = room_id
        self.cursor = cursor
        self.members: set[Connection] = set()  # all sockets of the room here
        self.live: set[Connection] = set()  # those that have everything up to their cursor
        self._history = history
        self._tally = stats
        self._early: dict[int, Publication] = {}  # by the id before it
        self._is_awaiting = False
        self._filling = False
        self._stale = False  # more was said than the cursor knows
        self._repeats: list[tuple[Connection, int, bytes]] = []

    # Joining

    def join(self, connection: Connection) -> None:
        """Let a socket hear everything after its own cursor, first the old, then the new."""
        self.members.add(connection)
        if connection.cursor >= self.cursor:
            self.live.add(connection)
        else:
            spawn(self._replay, connection)

    def leave(self, connection: Connection) -> None:
        """Forget a socket."""
        self.members.discard(connection)
        self.live.discard(connection)

    def _replay(self, connection: Connection) -> None:
        while connection.is_open:
            try:
                page = self._history.after(self.room_id, connection.cursor, PAGE)
            except Exception:
                log.warning("replay of room %d waits for the database", self.room_id, exc_info=True)
                sleep(RETRY_SECONDS)
                continue
            for message_id, payload in page:
                connection.offer(text_frame(payload))
                connection.cursor = message_id
                self._tally.replayed += 1
                if connection.waiting > OUTBOX_BYTES // 2:
                    # A socket that asked for much shall get it at the pace at which it reads.
                    connection.wait_drained()
            # From here to `add` nothing yields, so nothing is delivered in between.
            if connection.is_open and connection.cursor >= self.cursor:
                self.live.add(connection)
                self._answer_repeats()
                return
            if not page:
                # The channel is ahead of what this reader can see: look again.
                sleep(0.05)

    # Delivering

    def publish(self, publications: Sequence[Publication]) -> None:
        """Deliver messages of this room that were committed, in the order given."""
        fresh = [publication for publication in publications if publication.id > self.cursor]
        if not fresh:
            return
        is_plain = not self._filling and not self._early
        if is_plain and (messages := self._following(fresh)) is not None:
            self._deliver(messages)
            return
        for publication in fresh:
            self._early[publication.prev_id] = publication
        if len(self._early) > EARLY_MAX:
            self.fill()
        else:
            self._deliver_early()

    def _deliver_early(self) -> None:
        # What follows the cursor by now is delivered; what does not, goes on waiting.
        if self._filling:
            return
        early = {
            publication.prev_id: publication
            for publication in self._early.values()
            if publication.id > self.cursor
        }
        self._early = early
        chain: list[Publication] = []
        while publication := early.pop(chain[-1].id if chain else self.cursor, None):
            chain.append(publication)
        if chain:
            if (messages := self._following(chain)) is None:
                self.fill()
                return
            self._deliver(messages)
        if self._early and not self._is_awaiting:
            self._is_awaiting = True
            spawn(self._await_early)

    def _await_early(self) -> None:
        before = self.cursor
        sleep(EARLY_SECONDS)
        self._is_awaiting = False
        if not self.members:
            self._early.clear()  # nobody is left to wait for them
        elif self.cursor == before and self._early:
            self.fill()
        else:
            self._deliver_early()

    def _following(self, publications: Sequence[Publication]) -> Sequence[tuple[int, bytes]] | None:
        # The messages, if nothing is missing before, between or in them, and if they are not
        # so large together that they would fill the outbox of a reader who is quick enough.
        messages = []
        last, size = self.cursor, 0
        for publication in publications:
            if publication.prev_id != last or publication.payload is None:
                return None
            messages.append((publication.id, publication.payload))
            last = publication.id
            size += len(publication.payload)
        return messages if size <= PART_BYTES or len(messages) == 1 else None

    def _deliver(self, messages: Sequence[tuple[int, bytes]]) -> None:
        before, after = self.cursor, messages[-1][0]
        encoded = [text_frame(payload) for _, payload in messages]
        joined = encoded[0] if len(encoded) == 1 else b"".join(encoded)
        self.cursor = after
        delivered = 0
        for connection in tuple(self.live):
            if connection.cursor == before:
                connection.cursor = after
                connection.offer(joined)
                delivered += len(encoded)
            else:  # it came with more than the channel had
                for (message_id, _), frame in zip(messages, encoded, strict=True):
                    if message_id > connection.cursor:
                        connection.cursor = message_id
                        connection.offer(frame)
                        delivered += 1
        self._tally.delivered += delivered
        if self._repeats:
            self._answer_repeats()

    def fill(self) -> None:
        """Deliver from the database what rings have not brought, if there is anything."""
        self._stale = True
        self._early.clear()
        if not self._filling:
            self._filling = True
            spawn(self._fill)

    def _fill(self) -> None:
        try:
            while self._stale and self.members:
                self._stale = False  # a ring while we read makes it true again
                page = self._history.after(self.room_id, self.cursor, PAGE)
                self._tally.filled += len(page)
                for part in _parts(page):
                    self._deliver(part)
                    self._let_read()
                self._stale = self._stale or len(page) == PAGE
        except Exception:
            # What is still missing, the sweep finds.
            log.warning("gap in room %d waits for the database", self.room_id, exc_info=True)
            self._early.clear()
        finally:
            self._filling = False
        self._deliver_early()

    def _let_read(self) -> None:
        # What comes from the database comes faster than from people: give readers a moment to
        # take it, but no more, so that one who takes nothing does not keep it from the others.
        sleep(0)
        give_up_at = monotonic() + PACE_SECONDS
        while any(each.waiting > PART_BYTES for each in self.live) and monotonic() < give_up_at:
            sleep(0.01)

    # Repeats

    def repeat(self, connection: Connection, message_id: int, payload: bytes) -> None:
        """Send a stored message to one socket once more, but not before what is older."""
        self._repeats.append((connection, message_id, payload))
        self._answer_repeats()

    def _answer_repeats(self) -> None:
        kept = []
        for repeat in self._repeats:
            connection, message_id, payload = repeat
            if connection in self.live and connection.cursor >= message_id:
                connection.offer(text_frame(payload))
            elif connection in self.members:
                kept.append(repeat)
        self._repeats = kept


def _parts(
    page: Sequence[tuple[int, bytes]],
) -> Iterator[Sequence[tuple[int, bytes]]]:
    start = size = 0
    for position, (_, payload) in enumerate(page):
        size += len(payload)
        if size >= PART_BYTES:
            yield page[start : position + 1]
            start, size = position + 1, 0
    if start < len(page):
        yield page[start:]
