"""Runs slow functions off the event loop: hashes, pictures, sums of metrics, files of SQLite.

Each worker has one thread of low priority for each kind of work (a lane). With more threads, or in
the loop itself, a crowd that logs in slowed chat down 15 to 350 times; with one thread, not at all.
There are several lanes, so that a picture does not keep people from logging in.
"""

import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal, ParamSpec, TypeVar

from gevent.event import Event
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

Lane = Literal["passwords", "pictures", "metrics", "files"]

# Jobs in a lane, the running one included: who comes after more of them (20 ms a password, up to
# 1 s a picture, which is held in memory as well) would wait longer than people do.
WAITING_MAX: dict[Lane, int] = {"passwords": 200, "pictures": 20, "metrics": 20, "files": 20}

SHARES = 4  # of the places in a lane, one user or network has at most one share

# The least priority there is. With 10 a chat beside 8 clients that log in had a p99 of three times
# its quiet one, with 19 of 1.8 times; beside a chat that takes all of the CPU a login then takes
# 0.24 s instead of 0.14.
NICENESS = 19

_lanes: dict[tuple[int, Lane], "_Lane"] = {}


class TooBusy(Exception):
    """More jobs are waiting in the lane than would be done in time."""


# Whom the current request or job is for: a user, or the network of a stranger.
acting_for: ContextVar[str] = ContextVar("acting_for", default="")


class Turns:
    """One after another, and those who wait in turn by whom they are for.

    Whoever asks a hundred times at once does not make others wait for a hundred.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: OrderedDict[str, deque[Event]] = OrderedDict()

    def waiting(self, who: str) -> int:
        """Return how many of one wait."""
        return len(self._waiting.get(who, ()))

    def take(self, who: str) -> None:
        """Wait for a turn."""
        if not self._is_taken:
            self._is_taken = True
            return
        event = Event()
        self._waiting.setdefault(who, deque()).append(event)
        try:
            event.wait()
        except BaseException:  # the greenlet is killed
            if event.is_set():
                self.give_back()
            else:
                self._waiting[who].remove(event)
                if not self._waiting[who]:
                    del self._waiting[who]
            raise

    def give_back(self) -> None:
        """Let the next one have a turn."""
        if not self._waiting:
            self._is_taken = False
            return
        who, events = self._waiting.popitem(last=False)
        events.popleft().set()
        if events:
            self._waiting[who] = events  # at the end: others come first


class _Lane:
    def __init__(self) -> None:
        self.pool = ThreadPool(1)
        self.turns = Turns()
        self.waiting = 0
        self.pool.spawn(_be_nice)


def run(lane: Lane, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns, while others go on.

    Args:
        lane: Whose thread runs it.
        function: What to run; it must touch nothing that others touch.

    Raises:
        TooBusy: Too many are waiting, or too many of the one whom it is for.
        Exception: What the function raises.
    """
    if not is_module_patched("threading"):
        return function(*args, **kwargs)  # no event loop here that could be held up
    # Made in the process that uses it: threads do not survive a fork.
    mine = _lanes.get((os.getpid(), lane))
    if mine is None:
        mine = _lanes[os.getpid(), lane] = _Lane()
    who = acting_for.get()
    most = WAITING_MAX[lane]
    if mine.waiting >= most or (who and mine.turns.waiting(who) >= most // SHARES):
        raise TooBusy
    mine.waiting += 1
    result: T
    error: Exception | None = None
    try:
        mine.turns.take(who)
        try:
            result, error = mine.pool.apply(_attempt, (function, args, kwargs))
        finally:
            mine.turns.give_back()
        if error is not None:
            raise error
        return result
    finally:
        mine.waiting -= 1
        error = None  # its traceback holds this frame, which would hold it in turn


def _attempt(
    function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[T | None, Exception | None]:
    # What a thread raises is printed by gevent (26.9), although the caller gets it as well.
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error


def _be_nice() -> None:
    # On Linux this lowers the calling thread only, whatever POSIX says of the whole process;
    # elsewhere the id of a thread is that of no process, or of a stranger's.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
