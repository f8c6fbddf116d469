"""Spreads work that many clients cause at the same moment, so that it delays nobody else for long.

After a restart all clients come back at once. Each of them takes milliseconds of the loop: for a
handshake, and for each page of what it has missed. A message of somebody else would wait for all
of them, once for each step that it takes through the loop.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time

from app.realtime.loop import monotonic, sleep

SHARE = 0.75  # of the loop's time that such work may take
WAIT_SECONDS_MAX = 3.0  # then it begins all the same: its client has a time-out
COST_SECONDS_MAX = 0.01  # that one piece of work is taken to cost


class Pace:
    """Gives turns to pieces of work, in the order of asking."""

    def __init__(self) -> None:
        self._next_at = 0.0  # when the next one may begin
        self._cost = 0.0  # seconds of the loop's time that one takes

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, which the block then has."""
        now = monotonic()
        start = min(max(now, self._next_at), now + WAIT_SECONDS_MAX)
        self._next_at = start + self._cost / SHARE
        sleep(start - now)
        began = thread_time()
        try:
            yield
        finally:
            # While it waited for the database, others used the loop: so small values count more.
            taken = min(thread_time() - began, COST_SECONDS_MAX)
            self._cost = min(taken, 1.1 * self._cost + 0.0002)
