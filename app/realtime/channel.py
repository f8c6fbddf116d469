"""One room that has sockets here: which sockets, and how far they have been told.

The cursor is the id of the last message delivered to the live sockets. A publication that
follows it is delivered as it is, an older one is dropped, and any other came too early: it
waits a moment for those before it, which another worker has committed and publishes as well.
What does not come in that moment is read from the database.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from app.realtime.events import Publication
from app.realtime.frames import text_frame
from app.realtime.history import History, HistoryUnavailableError
from app.realtime.loop import give_way, monotonic, sleep, spawn
from app.realtime.stats import Stats
from app.realtime.subscription import Subscription

log = logging.getLogger(__name__)

PART_BYTES = 256 * 1024  # delivered at a time: well below what may wait in an outbox
PAGE = 100  # messages read at a time to fill a gap
REPLAY_PAGE = 25  # … to replay: a message may have 40 kB, and each replay holds a page
REPLAY_BYTES = 64 * 1024  # that may wait for the reader of a replay before more is read for it
PACE_SECONDS = 0.5  # how long a part may wait for those who still read the one before
EARLY_SECONDS = 0.05  # a publication waits so long for those before it: ten times what they need
EARLY_MAX = 64  # publications of one room that may wait
RETRY_SECONDS = 1.0  # between two attempts to read for a socket that resumes

Messages: TypeAlias = Sequence[tuple[int, bytes | None]]


class Channel:
    """A room with sockets on this worker.

    Touched in the loop's thread only. No method yields but `_backfill`, `_replay` and
    `_await_missing`, which run in greenlets of their own and look again after every wait.

    Args:
        room_id: Which room.
        cursor: A message id up to which nothing has to be delivered any more.
        history: Where gaps are read.
        stats: Where deliveries are counted.
    """

    __slots__ = (
        "_filling",
        "_history",
        "_is_awaiting",
        "_out_of_order",
        "_resends",
        "_stale",
        "_stats",
        "cursor",
        "live",
        "members",
        "room_id",
    )

    def __init__(self, room_id: int, cursor: int, history: History, stats: Stats) -> None:
        self.room_id = room_id
        self.cursor = cursor
        self.members: set[Subscription] = set()  # all sockets of the room here
        self.live: set[Subscription] = set()  # those that have everything up to the cursor
        self._history = history
        self._stats = stats
        self._out_of_order: dict[int, Publication] = {}  # by the id before it
        self._is_awaiting = False
        self._filling = False
        self._stale = False  # there is more than the cursor knows
        self._resends: list[tuple[Subscription, int, bytes]] = []

    # Joining

    def join(self, subscription: Subscription) -> None:
        """Send a socket everything after its own cursor, first the old, then the new."""
        self.members.add(subscription)
        if subscription.cursor >= self.cursor:
            self.live.add(subscription)
        else:
            spawn(self._replay, subscription)

    def leave(self, subscription: Subscription) -> None:
        """Forget a socket."""
        self.members.discard(subscription)
        self.live.discard(subscription)

    def _replay(self, subscription: Subscription) -> None:
        connection = subscription.connection
        while connection.is_open:
            try:
                page = self._history.after(self.room_id, subscription.cursor, REPLAY_PAGE)
            except HistoryUnavailableError as error:
                log.warning("replay of room %d waits for the database: %s", self.room_id, error)
                sleep(RETRY_SECONDS)
                continue
            except Exception:
                log.exception("defect while room %d was replayed", self.room_id)
                sleep(RETRY_SECONDS)
                continue
            self._send_page(subscription, page)
            # From here to `add` nothing yields, so nothing is delivered in between.
            if connection.is_open and subscription.cursor >= self.cursor:
                self.live.add(subscription)
                self._send_resends()
                return
            if connection.waiting > REPLAY_BYTES:
                del page  # a reader may take its time, and what it waits for is read then
                connection.wait_drained()
            elif not page:
                # The channel is ahead of what this reader can see: look again.
                sleep(0.05)
            else:
                give_way()  # SQLite does not wait, and others have to be served in between

    def _send_page(self, subscription: Subscription, page: Messages) -> None:
        for message_id, payload in page:
            if payload is not None:
                subscription.connection.offer(text_frame(payload))
                self._stats.replayed += 1
            subscription.cursor = message_id
            if subscription.connection.waiting > REPLAY_BYTES:
                return

    # Delivering

    def publish(self, publications: Sequence[Publication]) -> None:
        """Deliver messages of this room that were committed, in the order given."""
        fresh = [publication for publication in publications if publication.id > self.cursor]
        if not fresh:
            return
        is_plain = not self._filling and not self._out_of_order
        if is_plain and (messages := self._following(fresh)) is not None:
            self._deliver(messages)
            return
        for publication in fresh:
            self._out_of_order[publication.room_prev_id] = publication
        if len(self._out_of_order) > EARLY_MAX:
            self.backfill()
        else:
            self._deliver_following()

    def _deliver_following(self) -> None:
        # What follows the cursor by now is delivered; what does not, goes on waiting.
        if self._filling:
            return
        waiting = {
            publication.room_prev_id: publication
            for publication in self._out_of_order.values()
            if publication.id > self.cursor
        }
        self._out_of_order = waiting
        chain: list[Publication] = []
        while publication := waiting.pop(chain[-1].id if chain else self.cursor, None):
            chain.append(publication)
        if chain:
            if (messages := self._following(chain)) is None:
                self.backfill()
                return
            self._deliver(messages)
        if self._out_of_order and not self._is_awaiting:
            self._is_awaiting = True
            spawn(self._await_missing)

    def _await_missing(self) -> None:
        before = self.cursor
        sleep(EARLY_SECONDS)
        self._is_awaiting = False
        if not self.members:
            self._out_of_order.clear()  # nobody is left to wait for them
        elif self.cursor == before and self._out_of_order:
            self.backfill()
        else:
            self._deliver_following()

    def _following(self, publications: Sequence[Publication]) -> Messages | None:
        # The messages, if nothing is missing before, between or in them, and if they are not
        # so large together that they would fill the outbox of a reader who is quick enough.
        messages: list[tuple[int, bytes | None]] = []
        last, size = self.cursor, 0
        for publication in publications:
            if publication.room_prev_id != last or publication.payload is None:
                return None
            messages.append((publication.id, publication.payload))
            last = publication.id
            size += len(publication.payload)
        return messages if size <= PART_BYTES or len(messages) == 1 else None

    def _deliver(self, messages: Messages) -> None:
        before, after = self.cursor, messages[-1][0]
        encoded = [
            (message_id, text_frame(payload))
            for message_id, payload in messages
            if payload is not None
        ]
        joined = encoded[0][1] if len(encoded) == 1 else b"".join(frame for _, frame in encoded)
        self.cursor = after
        delivered = 0
        for subscription in tuple(self.live):
            if subscription.cursor == before:
                subscription.cursor = after
                if joined:
                    subscription.connection.offer(joined)
                delivered += len(encoded)
            else:  # its cursor was ahead of the channel's
                for message_id, frame in encoded:
                    if message_id > subscription.cursor:
                        subscription.cursor = message_id
                        subscription.connection.offer(frame)
                        delivered += 1
                subscription.cursor = max(subscription.cursor, after)
        self._stats.delivered += delivered
        if self._resends:
            self._send_resends()

    def backfill(self) -> None:
        """Deliver from the database what publications have not brought, if there is anything."""
        self._stale = True
        self._out_of_order.clear()
        if not self._filling:
            self._filling = True
            spawn(self._backfill)

    def _backfill(self) -> None:
        try:
            while self._stale and self.members:
                self._stale = False  # a publication while we read makes it true again
                page = self._history.after(self.room_id, self.cursor, PAGE)
                self._stats.filled += len(page)
                for part in _parts(page):
                    self._deliver(part)
                    self._let_read()
                self._stale = self._stale or len(page) == PAGE
        except HistoryUnavailableError as error:
            # What is still missing, `reconcile` finds.
            log.warning("gap in room %d waits for the database: %s", self.room_id, error)
            self._out_of_order.clear()
        except Exception:
            log.exception("defect while a gap in room %d was filled", self.room_id)
            self._out_of_order.clear()
        finally:
            self._filling = False
        self._deliver_following()

    def _let_read(self) -> None:
        # The database is quicker than people: give readers a moment to take what came from it,
        # but no more, so that one who takes nothing does not keep it from the others.
        give_way()
        give_up_at = monotonic() + PACE_SECONDS
        while monotonic() < give_up_at and any(
            each.connection.waiting > PART_BYTES for each in self.live
        ):
            sleep(0.01)

    # Resending

    def resend(self, subscription: Subscription, message_id: int, payload: bytes) -> None:
        """Send a stored message to one socket once more, but not before older ones."""
        self._resends.append((subscription, message_id, payload))
        self._send_resends()

    def _send_resends(self) -> None:
        kept = []
        for resend in self._resends:
            subscription, message_id, payload = resend
            if subscription in self.live and subscription.cursor >= message_id:
                subscription.connection.offer(text_frame(payload))
            elif subscription in self.members:
                kept.append(resend)
        self._resends = kept


def _parts(page: Messages) -> Iterator[Messages]:
    start = size = 0
    for position, (_, payload) in enumerate(page):
        size += len(payload or b"")
        if size >= PART_BYTES:
            yield page[start : position + 1]
            start, size = position + 1, 0
    if start < len(page):
        yield page[start:]
