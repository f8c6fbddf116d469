"""The part of a worker's event loop that sockets need: the only file here that knows gevent.

Everything `realtime` owns is touched in the loop's thread only. What runs as a callback of a
watcher must not block, yield or raise.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.lock import Semaphore

from app.threads import MOMENT_SECONDS

__all__ = [
    "Event",
    "Semaphore",
    "Watcher",
    "give_way",
    "monotonic",
    "sleep",
    "spawn",
    "watch_reads",
    "watch_writes",
]

_READ, _WRITE = 1, 2  # libev's EV_READ and EV_WRITE


class Watcher(Protocol):
    """Calls back whenever a descriptor is ready, from `start` to `stop`."""

    def start(self, callback: Callable[[], None]) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


def watch_reads(descriptor: int) -> Watcher:
    """Return a watcher that calls back while there is something to read."""
    watcher: Watcher = gevent.get_hub().loop.io(descriptor, _READ)
    return watcher


def watch_writes(descriptor: int) -> Watcher:
    """Return a watcher that calls back while there is room to write."""
    watcher: Watcher = gevent.get_hub().loop.io(descriptor, _WRITE)
    return watcher


def spawn(function: Callable[..., None], *args: Any) -> Any:
    """Run a function in a greenlet of its own."""
    return gevent.spawn(function, *args)


def sleep(seconds: float) -> None:
    """Let others run for that long."""
    gevent.sleep(seconds)


def give_way() -> None:
    """Let all others run who wait, and the sockets be looked at; then go on."""
    gevent.sleep(MOMENT_SECONDS)
