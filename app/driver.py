"""How a connection to PostgreSQL waits for its answer while others go on.

Under gevent psycopg (3.3) waits by `select.poll`: a poll, a watcher and a time-out are made for
each answer, which took 7 % of a small request. One watcher does.
"""

from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from gevent import get_hub
from gevent.monkey import is_module_patched

T = TypeVar("T")


class Connection(psycopg.Connection[Any]):
    """A connection of psycopg whose greenlet waits by one watcher."""

    def wait(
        self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None
    ) -> T:
        """Return what a generator of psycopg returns, doing its waiting for it.

        Args:
            gen: Yields what it waits for, which are the bits of libev: 1 to read, 2 to write.
            interval: How often to look for signals, in seconds; gevent does that by itself.
            timeout: After how many seconds to give up; None: never.
        """
        if timeout is not None or not is_module_patched("select"):
            return super().wait(gen, interval, timeout)
        hub = get_hub()
        ready: Any = None
        try:
            while True:
                ready = gen.send(ready)
                watcher = hub.loop.io(self.pgconn.socket, ready)
                try:
                    hub.wait(watcher)
                finally:
                    watcher.close()
        except StopIteration as done:
            result: T = done.value
            return result
