"""Owns the open connections: how many there are, and who gets the next one.

It stands beside SQLAlchemy, whose engine opens and closes connections (`NullPool`) and carries
the pool among its execution options.
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
    """Lends connections to those who wait in the order in which they came.

    SQLAlchemy's own pool (2.1) wakes the first who waits, but lets whoever asks in that moment
    take the connection: in a crowd of requests some waited in vain until their time-out. It also
    makes a `Connection` for each loan, which takes as long as a small question itself. Here each
    `Connection` is made once, then lent and taken back as it is.

    Connections are opened when they are needed, and kept. The one that came back last is lent
    first, because its server process was awake most recently.

    May be used from any thread. `Engine.connect` does not use the pool: it opens a connection
    and closes it afterwards.

    Args:
        size: The most connections. Opening more for a rush and closing them again does not pay: a
            question on a new connection to PostgreSQL costs ten times as much.
        timeout: How long to wait for a free one, in seconds.
    """

    def __init__(self, size: int, timeout: float) -> None:
        self.size = size
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._lent: dict[Connection, float] = {}  # with the time until which each may be lent
        self._free = size  # loans that may still be made
        self._queue: deque[threading.Event] = deque()
        self._turn = threading.Lock()  # guards `_free` and `_queue`

    def lend(self, engine: Engine, seconds: float) -> Connection:
        """Return a connection for one user, who gives it to `take_back`.

        Args:
            engine: The engine of this pool.
            seconds: How long it may be lent before `overdue` names it.

        Raises:
            DatabaseUnavailable: None became free in time.
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
            self._end_loan()
            raise
        self._lent[connection] = monotonic() + seconds
        return connection

    def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next user, without what is left of a transaction."""
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
        finally:  # also where something ends the waiting greenlet
            if not is_called:
                self._leave_queue(called)
        if not is_called:
            raise DatabaseUnavailable(f"no connection was free for {self._timeout} s")

    def _leave_queue(self, called: threading.Event) -> None:
        with self._turn:
            if not called.is_set():
                self._queue.remove(called)
                return
        self._end_loan()  # the call came at the last moment

    def _end_loan(self) -> None:
        with self._turn:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    @property
    def lent(self) -> int:
        """How many connections are lent, including those that are being opened."""
        return self.size - self._free

    @property
    def idle(self) -> int:
        """How many connections are open and not lent."""
        return len(self._idle)

    def overdue(self) -> set[Connection]:
        """Return the connections that are lent for longer than they may be."""
        now = monotonic()
        return {each for each, until in dict(self._lent).items() if until < now}

    def close_idle(self) -> None:
        """Close the connections that are not lent."""
        with suppress(IndexError):
            while True:
                _close(self._idle.pop())


def pool_of(engine: Engine) -> FairPool:
    """Return the pool that an engine carries."""
    pool: FairPool = engine.get_execution_options()["pool"]
    return pool


def _close(connection: Connection) -> None:
    connection.invalidate()
    connection.close()


def _is_alive(connection: Connection) -> bool:
    # A server that hung up has left a message and an end-of-file to read, one after the other.
    # Reading them costs two system calls; a question would cost a round trip.
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        return True  # SQLite: a file is always there
    try:
        driver.pgconn.consume_input()
        driver.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True
