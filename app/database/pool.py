"""Owns the open connections and lends them in a fair order.

It is independent of SQLAlchemy's pools: the engine (with `NullPool`) opens and closes connections
and holds this pool among its execution options.
"""

import logging
import threading
from collections import deque
from contextlib import suppress
from time import monotonic

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.database.errors import DatabaseUnavailable

log = logging.getLogger(__name__)


class FairPool:
    """Lends connections to callers in the order in which they asked.

    SQLAlchemy's own pool (2.1) wakes the first waiting caller, but another one that asks at that
    moment may take the connection: under load some callers waited until their time-out. It also
    creates a `Connection` for each loan, which takes as long as a small query. Here each
    `Connection` is created once and lent again and again.

    Connections are opened when needed, and then kept. The one that was returned last is lent first,
    because its server process ran most recently.

    May be used from any thread. `Engine.connect` does not use the pool: it opens a connection and
    closes it afterwards.

    Args:
        size: The maximum of connections. It does not pay to open more for a short time: a query on
            a new connection to PostgreSQL costs ten times as much.
        timeout: How long to wait for a free connection, in seconds.
    """

    def __init__(self, size: int, timeout: float) -> None:
        self.size = size
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._lent: dict[Connection, float] = {}  # the time until which each may be lent
        self._free = size  # how many more may be lent
        self._queue: deque[threading.Event] = deque()
        self._turn = threading.Lock()  # guards `_free` and `_queue`

    def lend(self, engine: Engine, seconds: float) -> Connection:
        """Return a connection, which the caller returns by `take_back`.

        Args:
            engine: The engine of this pool.
            seconds: How long it may be lent before `overdue` returns it.

        Raises:
            DatabaseUnavailable: No connection became free in time.
            DBAPIError: The database cannot be reached.
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
            self._end_loan()
            raise
        self._lent[connection] = monotonic() + seconds
        return connection

    def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next caller; roll back an open transaction."""
        self._lent.pop(connection, None)
        is_clean = False
        try:
            if connection.in_transaction():
                connection.rollback()
            is_clean = not connection.invalidated
        except SQLAlchemyError:
            log.debug("a connection could not be rolled back and is closed", exc_info=True)
        finally:
            try:
                if is_clean:
                    self._idle.append(connection)
                else:
                    # If one connection is broken the idle ones probably are too; checking each
                    # would time out in turn.
                    _close(connection)
                    self.close_idle()
            finally:
                self._end_loan()

    def _open(self, engine: Engine) -> Connection:
        while True:
            try:
                connection = self._idle.pop()  # atomic, so it needs no lock
            except IndexError:
                return engine.connect().execution_options(is_lent=True)
            if _is_alive(connection):
                return connection
            _close(connection)

    def _wait(self, called: threading.Event) -> None:
        is_called = False
        try:
            is_called = called.wait(self._timeout)
        finally:  # also if the waiting greenlet is killed
            if not is_called:
                self._leave_queue(called)
        if not is_called:
            raise DatabaseUnavailable(f"no connection was free for {self._timeout} s")

    def _leave_queue(self, called: threading.Event) -> None:
        with self._turn:
            if not called.is_set():
                self._queue.remove(called)
                return
        self._end_loan()  # it became free at the last moment

    def _end_loan(self) -> None:
        with self._turn:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    @property
    def lent(self) -> int:
        """The number of connections that are lent or being opened."""
        return self.size - self._free

    @property
    def idle(self) -> int:
        """The number of connections that are open and not lent."""
        return len(self._idle)

    def overdue(self) -> set[Connection]:
        """Return the connections that have been lent for too long."""
        now = monotonic()
        return {each for each, until in dict(self._lent).items() if until < now}

    def close_idle(self) -> None:
        """Close the connections that are not lent."""
        with suppress(IndexError):
            while True:
                _close(self._idle.pop())


def pool_of(engine: Engine) -> FairPool:
    """Return the pool of an engine."""
    pool: FairPool = engine.get_execution_options()["pool"]
    return pool


def _close(connection: Connection) -> None:
    connection.invalidate()
    connection.close()


def _is_alive(connection: Connection) -> bool:
    # If the server has closed the connection, there is a message and an end-of-file to read.
    # Looking for them costs two system calls; a query would cost a round trip.
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        return True  # SQLite: a file cannot hang up
    try:
        driver.pgconn.consume_input()
        driver.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True
