"""The events of one worker's streams: one cursor over the whole sequence, and who gets what.

The cursor is the event id up to which the live streams have been told everything. A publication
that follows it is delivered, an older one is dropped, and any other waits a moment for those
before it. What does not come in that moment is read from the database, together with everything
newer. Memberships change in the same order as everything else, so a member who is removed at an
event gets nothing after it.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from app.realtime.events import Event, EventSource, FramePage, Publication
from app.realtime.frames import text_frame
from app.realtime.history import HistoryUnavailableError
from app.realtime.loop import Semaphore, give_way, monotonic, sleep, spawn
from app.realtime.pace import Pace
from app.realtime.packing import unpacked_names
from app.realtime.room_members import Members, RoomMembers
from app.realtime.stats import Stats
from app.realtime.subscription import StreamSubscription

log = logging.getLogger(__name__)

BEAT_SECONDS = 25.0  # after so long without a frame a stream gets one: a page sees no pings
PAGE = 100  # events read at a time
REPLAY_PAGE = 200  # … for one stream: a second page costs half as much as the first
REPLAYS_MAX = 8  # streams that read what they have missed at a time; the others wait
REPLAY_BYTES = 64 * 1024  # that may wait for the reader of a replay before more is read for it
SIGNAL_BYTES = 64 * 1024  # … before typing and presence are dropped
EARLY_SECONDS = 0.05  # a publication waits so long for those before it
EARLY_MAX = 1_000  # publications that may wait
RETRY_SECONDS = 1.0  # between two attempts to read for a stream that resumes


class Feed:
    """Delivers events to the streams of one worker.

    Touched in the loop's thread only. No method yields but `_fill`, `_replay` and `_await_missing`,
    which run in greenlets of their own and look again after every wait.

    Args:
        source: Where events are read.
        stats: Where deliveries are counted.
        pace: Gives turns to replays.

    Attributes:
        cursor: The event id up to which everything was delivered.
        streams: All streams.
        live: Those that are told of events, by user.
        rooms: The members of rooms with traffic.
    """

    def __init__(self, source: EventSource, stats: Stats, pace: Pace) -> None:
        self.cursor = 0
        self.streams: set[StreamSubscription] = set()
        self.live: dict[int, list[StreamSubscription]] = {}
        self._source = source
        self._stats = stats
        self.rooms = RoomMembers(source)
        self._out_of_order: dict[int, Publication] = {}  # by id
        self._old_names: dict[int, str] = {}  # of events to come, by id
        self._pace = pace
        self._replays = Semaphore(REPLAYS_MAX)
        self._is_awaiting = False
        self._filling = False
        self._stale = False  # there is more than the cursor knows

    # Joining

    def join(self, stream: StreamSubscription, latest: int) -> None:
        """Send a stream everything after its cursor, first the old, then the new.

        Args:
            stream: The stream.
            latest: The greatest event id, looked up before the client saw its socket open.
        """
        is_first = not self.streams
        if is_first:
            # Nothing was followed while nobody listened.
            self.cursor = max(self.cursor, latest)
            self.rooms.clear()
        self.streams.add(stream)
        spawn(self._replay, stream)
        if is_first or latest > self.cursor:
            self.fill()

    def leave(self, stream: StreamSubscription) -> None:
        """Forget a stream."""
        self.streams.discard(stream)
        self._mute(stream)

    @property
    def is_reading(self) -> bool:
        """Whether the database is being asked for streams."""
        return self._filling or self._replays.counter < REPLAYS_MAX

    def _mute(self, stream: StreamSubscription) -> None:
        of_user = self.live.get(stream.user_id, [])
        if stream in of_user:
            of_user.remove(stream)
            if not of_user:
                del self.live[stream.user_id]

    def _replay(self, stream: StreamSubscription) -> None:
        while stream.connection.is_open:
            try:
                with self._replays:
                    self._pace.wait_turn()
                    if not stream.connection.is_open:
                        return
                    self._skip_too_many(stream)
                    is_live = self._catch_up(stream)
            except HistoryUnavailableError as error:
                log.warning("replay of a stream waits for the database: %s", error)
                sleep(RETRY_SECONDS)
            except Exception:
                log.exception("defect while a stream was replayed")
                sleep(RETRY_SECONDS)
            else:
                if is_live:
                    return
                stream.connection.wait_drained()
                give_way()  # SQLite does not wait, and others have to be served in between

    def _skip_too_many(self, stream: StreamSubscription) -> None:
        if stream.most is not None:
            if self._has_too_many(stream, stream.most):
                stream.cursor = self._source.newest_event_id()
                self._stats.resets += 1
                stream.listener.on_reset(stream.cursor)
            stream.most = None  # once for each stream

    def _catch_up(self, stream: StreamSubscription) -> bool:
        # Sends one page; tells whether it was the last one, and the stream is live. What is
        # published while the page is read waits in the backlog: with much traffic the cursor of
        # the worker is always ahead of what was just read.
        stream.backlog, before = [], self.cursor
        self.live.setdefault(stream.user_id, []).append(stream)
        is_live = False
        try:
            page = self._source.events_after(stream.user_id, stream.cursor, REPLAY_PAGE)
            is_complete = self._send_page(stream, page) and page.is_last
            is_live = is_complete and stream.cursor >= before and stream in self.streams
        finally:
            backlog, stream.backlog = stream.backlog, None
            if not is_live:
                self._mute(stream)
        if is_live:
            stream.listener.on_ready(stream.cursor)
            for event_id, frame in backlog:
                self._send(stream, event_id, frame)
        return is_live

    def _has_too_many(self, stream: StreamSubscription, most: int) -> bool:
        cursor, count, is_last = stream.cursor, 0, False
        while not is_last and count <= most:
            page = self._source.events_after(stream.user_id, cursor, PAGE)
            count += len(page.frames)
            cursor, is_last = page.cursor, page.is_last
            give_way()
        return count > most

    def _send_page(self, stream: StreamSubscription, page: FramePage) -> bool:
        # Tells whether all of it was sent: a slow reader gets the rest later.
        # Frames are written together: each system call takes as long as it takes to make ten.
        stream.sent_at = monotonic()
        waiting: list[bytes] = []
        size = 0
        for event_id, frame in page.frames:
            waiting.append(text_frame(frame))
            size += len(frame)
            if size < REPLAY_BYTES and event_id != page.frames[-1][0]:
                continue
            stream.connection.offer(b"".join(waiting))
            stream.cursor = event_id
            self._stats.events_replayed += len(waiting)
            waiting, size = [], 0
            if stream.connection.waiting > REPLAY_BYTES:
                return False
        stream.cursor = max(stream.cursor, page.cursor)
        return True

    # Publications

    def publish(self, publications: Iterable[Publication]) -> None:
        """Deliver what was committed, in the order of the event ids."""
        if not self.streams:
            return
        for publication in publications:
            if publication.id > self.cursor:
                self._out_of_order[publication.id] = publication
                if publication.room_id is None and publication.payload is not None:
                    self._old_names |= unpacked_names(publication.payload)
        if len(self._out_of_order) > EARLY_MAX:
            self.fill()
        elif self._out_of_order and not self._filling:
            self._deliver_following()

    def _deliver_following(self) -> None:
        for event_id in sorted(self._out_of_order):
            publication = self._out_of_order[event_id]
            if event_id <= self.cursor:
                del self._out_of_order[event_id]
            elif publication.prev_id > self.cursor:
                break
            elif self._deliver_message(publication):
                del self._out_of_order[event_id]
            else:
                self.fill()
                return
        if self._out_of_order and not self._is_awaiting:
            self._is_awaiting = True
            spawn(self._await_missing)

    def _await_missing(self) -> None:
        before = self.cursor
        sleep(EARLY_SECONDS)
        self._is_awaiting = False
        if self._out_of_order and self.streams and not self._filling:
            if self.cursor == before:
                self.fill()
            else:
                self._deliver_following()

    def _deliver_message(self, publication: Publication) -> bool:
        # Only a new message of a room whose members are known can be delivered as it is.
        room_id = publication.room_id
        if room_id is None or publication.payload is None:
            return False
        members = self.rooms.known(room_id)
        frame = self._source.message_frame(publication)
        if members is None or frame is None:
            return False
        self._send_to_members(publication.id, members, text_frame(frame))
        self.cursor = publication.id
        return True

    # Filling

    def fill(self) -> None:
        """Deliver from the database what publications have not brought, if there is anything."""
        self._stale = True
        if not self._filling:
            self._filling = True
            spawn(self._fill)

    def reconcile(self) -> None:
        """Ask the database for what publications have missed. Waits; never raises."""
        if not self.streams:
            return
        try:
            newest = self._source.newest_event_id()
        except HistoryUnavailableError as error:
            log.warning("reconciliation of streams waits for the database: %s", error)
        except Exception:
            log.exception("defect while streams were reconciled with the database")
        else:
            if newest > self.cursor and not self._filling:
                self._stats.feed_reconciled += 1
                self.fill()

    def _fill(self) -> None:
        try:
            while self._stale and self.streams:
                self._stale = False  # a publication while we read makes it true again
                self._out_of_order.clear()
                is_last = False
                while not is_last:
                    page = self._source.events_between(
                        self.cursor, PAGE, self.live.keys(), self._old_names
                    )
                    rooms = {
                        room_id: self.rooms.get(room_id)
                        for room_id in {event.room_id for event in page.events if event.frame}
                        if room_id is not None
                    }
                    self._deliver(page.events, rooms)
                    self.cursor = max(self.cursor, page.cursor)
                    is_last = page.is_last
                    give_way()
            for event_id in [each for each in self._old_names if each <= self.cursor]:
                del self._old_names[event_id]
        except HistoryUnavailableError as error:
            log.warning("streams wait for the database: %s", error)  # then they are reconciled
        except Exception:
            log.exception("defect while events were read for streams")
        finally:
            self._filling = False
        if self._out_of_order:
            self._deliver_following()

    def _deliver(self, events: Sequence[Event], rooms: Mapping[int, Members]) -> None:
        self._stats.events_filled += len(events)
        for event in events:
            if event.change is not None:
                self.rooms.change(event.change, rooms)
            single = event.frames or {}
            for user_id, frame in single.items():
                if frame:
                    self._send_to_user(event.id, user_id, text_frame(frame))
            if event.room_id is not None and event.frame is not None:
                members = rooms[event.room_id]
                self._send_to_members(event.id, members, text_frame(event.frame), single)
            self.cursor = max(self.cursor, event.id)

    # Sending

    def _send_to_members(
        self,
        event_id: int,
        members: Members,
        frame: bytes,
        without: Mapping[int, bytes] | None = None,
    ) -> None:
        for user_id in members.keys() & self.live.keys():
            joined_id, left_id = members[user_id]
            is_member = joined_id < event_id and (left_id is None or event_id < left_id)
            if is_member and not (without and user_id in without):
                self._send_to_user(event_id, user_id, frame)

    def _send_to_user(self, event_id: int, user_id: int, frame: bytes) -> None:
        for stream in tuple(self.live.get(user_id, ())):
            self._send(stream, event_id, frame)

    def _send(self, stream: StreamSubscription, event_id: int, frame: bytes) -> None:
        if stream.backlog is not None:
            stream.backlog.append((event_id, frame))
        elif event_id > stream.cursor:
            stream.cursor = event_id
            stream.sent_at = monotonic()
            stream.connection.offer(frame)
            stream.listener.on_cursor(event_id)
            self._stats.events_delivered += 1

    def cursor_of(self, stream: StreamSubscription) -> int:
        """Return the event id up to which a stream has been told everything."""
        is_live = stream.backlog is None and stream in self.live.get(stream.user_id, ())
        return max(stream.cursor, self.cursor) if is_live else stream.cursor

    def signal(self, user_ids: Iterable[int], frame: bytes) -> None:
        """Send a frame without an event id to live streams, unless much waits for them already."""
        encoded = text_frame(frame)
        for user_id in user_ids:
            for stream in tuple(self.live.get(user_id, ())):
                if stream.backlog is not None:
                    continue  # it is not ready
                if stream.connection.waiting <= SIGNAL_BYTES:
                    stream.connection.offer(encoded)
                    self._stats.signals += 1
                else:
                    self._stats.signals_dropped += 1

    def beat(self, now: float) -> None:
        """Send something to streams that got nothing for a while.

        Args:
            now: `monotonic()`; called about once a second.
        """
        for stream in tuple(self.streams):
            if now - stream.sent_at >= BEAT_SECONDS:
                stream.sent_at = now
                stream.listener.on_beat(self.cursor_of(stream))
