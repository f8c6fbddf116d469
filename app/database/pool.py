"""Owns the connections that are open: how many there are, and who gets the next one."""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

log = logging.getLogger(__name__)


class FairPool(NullPool):
    """Lends connections to those who wait in the order in which they came.

    SQLAlchemy's own pool (2.1) wakes the first who waits, but lets whoever asks in that moment
    take the connection: in a crowd of requests some waited in vain until their time-out. And it
    makes a `Connection` for each loan, which took as long as a small question itself. Here it
    is made once, and lent and given back as it is.

    Connections are opened when they are needed, and kept. The one that was given back last is
    lent first, as its server process has been awake most recently.

    May be used from any thread. What is taken from the engine itself (`Engine.connect`) is no
    loan: it is opened for that use, and closed after it.

    Args:
        creator: Connects; SQLAlchemy's own.
        pool_size: Connections at most. More for a rush would be opened and closed again for each
            question of it: a question on a new connection to PostgreSQL costs ten times as much.
        timeout: How long to wait for a free one, in seconds.
        options: As SQLAlchemy's pools take them.
    """

    def __init__(self, creator: Any, pool_size: int, timeout: float, **options: Any) -> None:
        super().__init__(creator, **options)
        self._size = pool_size
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._lent: dict[Connection, float] = {}
        self._free = pool_size  # places, each for a connection that is lent
        self._queue: deque[threading.Event] = deque()
        self._turn = threading.Lock()  # of the places and the queue

    def lend(self, engine: Engine) -> Connection:
        """Return a connection for the use of one, to be given to `take_back`.

        Args:
            engine: That of this pool.

        Raises:
            PoolTimeout: None became free in time.
            DBAPIError: There is no database.
        """
        called = None
        with self._turn:
            if self._free > 0:
                self._free -= 1
            else:
                called = threading.Event()
                self._queue.append(called)
        if called is not None:
            self._wait(called)
        try:
            connection = self._open(engine)
        except BaseException:
            self._give_up_place()
            raise
        self._lent[connection] = monotonic()
        return connection

    def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next one, without what is left of a transaction."""
        self._lent.pop(connection, None)
        is_clean = False
        try:
            if connection.in_transaction():
                connection.rollback()
            is_clean = not connection.invalidated
        except SQLAlchemyError:
            log.debug("a connection is closed that could not be rolled back", exc_info=True)
        finally:
            try:
                if is_clean:
                    self._idle.append(connection)
                else:
                    # What befell one has befallen the others, most likely. To find out with each
                    # of them in turn that nobody answers any more would take seconds each time.
                    _hang_up(connection)
                    self.dispose()
            finally:
                self._give_up_place()

    def _open(self, engine: Engine) -> Connection:
        while True:
            try:
                connection = self._idle.pop()  # in one step, for which nobody has to take turns
            except IndexError:
                return engine.connect().execution_options(is_lent=True)
            if _is_alive(connection):
                return connection
            _hang_up(connection)

    def _wait(self, called: threading.Event) -> None:
        is_called = False
        try:
            is_called = called.wait(self._timeout)
        finally:  # also for those whom something ends while they wait
            if not is_called:
                self._forget(called)
        if not is_called:
            raise PoolTimeout(f"no connection was free for {self._timeout} s")

    def _forget(self, called: threading.Event) -> None:
        with self._turn:
            if not called.is_set():
                self._queue.remove(called)
                return
        self._give_up_place()  # which came at the last moment

    def _give_up_place(self) -> None:
        with self._turn:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    def lent(self) -> Mapping[Connection, float]:
        """Return the connections that are lent, and since when (`monotonic()`)."""
        return dict(self._lent)

    def dispose(self) -> None:
        """Close what is not lent."""
        with suppress(IndexError):
            while True:
                _hang_up(self._idle.pop())

    def recreate(self) -> "FairPool":
        """Return an empty one like this, as SQLAlchemy wants it after `dispose`."""
        return FairPool(
            self._creator,
            self._size,
            self._timeout,
            recycle=self._recycle,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            pre_ping=self._pre_ping,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def size(self) -> int:
        """Return how many connections there may be."""
        return self._size

    def checkedout(self) -> int:
        """Return how many are lent, those included that are being opened."""
        return self._size - self._free

    def checkedin(self) -> int:
        """Return how many are open and not lent."""
        return len(self._idle)

    def status(self) -> str:
        """Say it in words."""
        return f"{self.checkedout()} of {self._size} connections lent, {self.checkedin()} idle"


def _hang_up(connection: Connection) -> None:
    connection.invalidate()
    connection.close()


def _is_alive(connection: Connection) -> bool:
    # A server that hung up has left a goodbye and an end-of-file to read, one after the other.
    # Looking for them costs two system calls; a question would cost a round trip.
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        return True  # a file is always there
    try:
        driver.pgconn.consume_input()
        driver.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True
