"""Waiting for an event of one person without a socket, as long-poll does it."""

from collections import Counter

from app.realtime.feed import Feed
from app.realtime.loop import Event, monotonic
from app.realtime.subscription import StreamSubscription

POLLS_MAX = 200  # that may wait on a worker
POLLS_PER_USER = 2
_LOOK_SECONDS = 0.5  # how often a waiting one looks whether the worker stops


class _Waiter:
    # Takes the place of a socket and its session: the first frame wakes the request that waits.

    waiting = 0
    is_open = True

    def __init__(self) -> None:
        self.woken = Event()

    def offer(self, _frame: bytes) -> None:
        self.woken.set()

    def wait_drained(self) -> None:
        """Nothing waits for this reader."""

    def on_ready(self, cursor: int) -> None:
        """Go on waiting."""

    def on_reset(self, cursor: int) -> None:
        """It never asks for one."""

    def on_cursor(self, cursor: int) -> None:
        """An event was offered."""

    def on_beat(self, cursor: int) -> None:
        """Go on waiting."""


class Polls:
    """Those of one worker that wait.

    Touched in the loop's thread only.

    Args:
        feed: Where events come from.
    """

    def __init__(self, feed: Feed) -> None:
        self.is_stopping = False
        self._feed = feed
        self._waiting: Counter[int] = Counter()  # by user

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting.total()

    def wait(self, user_id: int, cursor: int, seconds: float) -> bool:
        """Wait until there is something new for a person.

        Args:
            user_id: Who.
            cursor: The event id up to which they know everything.
            seconds: At most so long.

        Returns:
            False at once if too many wait already; True after the wait.
        """
        if self._waiting[user_id] >= POLLS_PER_USER or self.waiting >= POLLS_MAX:
            return False
        self._waiting[user_id] += 1
        waiter = _Waiter()
        # It has what both have: the feed does not ask for more.
        stream = StreamSubscription(waiter, cursor, user_id, waiter)  # type: ignore[arg-type]
        self._feed.join(stream, cursor)
        try:
            until = monotonic() + seconds
            while not waiter.woken.is_set() and not self.is_stopping:
                left = until - monotonic()
                if left <= 0:
                    break
                waiter.woken.wait(min(left, _LOOK_SECONDS))
        finally:
            waiter.is_open = False
            self._feed.leave(stream)
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id]
        return True
