"""Owns the connections to the database: how one is made, lent and given back.

Services borrow a connection for one question (`reading`) or one transaction
(`writing`) and give it back before they wait for anything else: the hashing of
a password, a reader, another transaction. A session bound to the request would
keep its connection all the while, and a pool of five be gone with five logins.

Rows are Core rows, never ORM objects: building those took two thirds of the
time of a page of messages.
"""

import logging
import os
import socket
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
from flask import current_app
from sqlalchemy import Connection, Engine, bindparam, event, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from app import threads
from app.database import connection as driver
from app.database.pool import FairPool
from app.database.prepared import Prepared
from app.database.types import Base

log = logging.getLogger(__name__)

BUSY_SECONDS = (
    1.0  # how long SQLite waits for another process's write; the worker stands still meanwhile
)
PATIENT_SECONDS = 10.0  # the same, for what is done from the command line

# Within five seconds a request is told that the database is away, so together these are less.
POOL_SECONDS = 1.5  # how long a request waits for a free connection
CONNECT_SECONDS = 2  # how long PostgreSQL may take to accept one; libpq takes no less
ANSWER_SECONDS = 3.0  # how long a connection may be lent before it is cut off

# A larger SQLite file is not written anew: the half second that 32 MiB take is as long as
# messages should have to wait for anything.
REWRITTEN_BYTES = 32 * 1024 * 1024

# SQLite has one writer. Taking turns here, not at the file's lock, keeps a second
# writer of this process from standing still for BUSY_SECONDS with the whole worker.
_sqlite_turn = threading.Lock()

# Results of SQLite that say "not now" and not "you are wrong" (https://www.sqlite.org/rescode.html).
_SQLITE_UNAVAILABLE = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_READONLY",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_CANTOPEN",
    "SQLITE_PROTOCOL",
    "SQLITE_NOMEM",
)

# Classes of SQLSTATE that say the same (PostgreSQL manual, appendix A): 08 connection, 25006
# read-only, 53 resources (disk full, too many connections), 57P shut down, 58 system.
_POSTGRES_UNAVAILABLE = ("08", "25006", "53", "57P", "58")


def engine_options(url: str, pool_size: int) -> dict[str, Any]:
    """Say how SQLAlchemy makes its connections to one of our two databases.

    Args:
        url: A SQLAlchemy URL of SQLite or PostgreSQL.
        pool_size: Connections at most. They are opened when they are needed, and kept.
    """
    options: dict[str, Any] = {
        "poolclass": FairPool,
        "pool_size": pool_size,
        "pool_timeout": POOL_SECONDS,
        "hide_parameters": True,  # what people write, and hashes, stand in no log
    }
    # Neither driver begins a transaction of its own: see `_begin`.
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": BUSY_SECONDS, "isolation_level": None}
    else:
        options["connect_args"] = {
            "autocommit": True,
            # What is asked often is `Prepared`, whose statements psycopg would forget with its own.
            "prepare_threshold": None,
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "beseda",
            "options": "-c timezone=UTC",
            # A peer that vanished without a word is given up within about ten seconds.
            "keepalives_idle": 4,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 8000,
        }
    return options


def prepare(engine: Engine) -> None:
    """Make every connection of an engine keep the promises of the tables."""
    event.listen(engine, "begin", _begin)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "do_connect", _connect)


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # An echo means durable, so a commit waits for the disk; group commit makes that affordable.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # What is deleted is overwritten with zeros, where it would stay in a free part of the file.
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.close()


# Neither driver begins a transaction of its own. IMMEDIATE: one that reads first and writes later
# would lose to one that wrote in between, without waiting (SQLITE_BUSY_SNAPSHOT).
_BEGIN = {
    "sqlite": Prepared(text("BEGIN IMMEDIATE")),
    "postgresql": Prepared(text("BEGIN")),
}


def _begin(connection: Connection) -> None:
    # Those that are lent read without a transaction, and `writing` begins its own.
    if not connection.get_execution_options().get("is_lent"):
        _BEGIN[connection.dialect.name].all(connection, {})


def _connect(_dialect: Any, _entry: Any, args: Any, options: Any) -> DBAPIConnection:
    connection: Any = driver.Connection.connect(*args, **options)
    return connection  # type: ignore[no-any-return]


def watch(engine: Engine) -> None:
    """Cut off connections that PostgreSQL does not answer, so that who waits is told.

    A server that is frozen, or a network that has gone silent, ends no query by itself.
    For workers that serve: what an operator does from the command line may take its time.
    """
    if engine.dialect.name != "sqlite":
        threading.Thread(
            target=_cut_off_forever, args=(engine,), name="database watch", daemon=True
        ).start()


def _cut_off_forever(engine: Engine) -> None:
    done: Collection[Connection] = ()
    while True:
        sleep(0.25)
        late_since = monotonic() - ANSWER_SECONDS
        late = {each for each, since in _pool(engine).lent().items() if since < late_since}
        for connection in late.difference(done):
            log.warning("PostgreSQL does not answer: a connection is cut off")
            _cut_off(connection)
        done = late


def be_patient(engine: Engine) -> None:
    """Let what an operator does from the command line wait for a server that writes much.

    It holds nobody up, unlike a worker, which stands still while SQLite waits.
    """
    if engine.dialect.name == "sqlite":

        def wait_longer(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {PATIENT_SECONDS * 1000:.0f}")
            cursor.close()

        event.listen(engine, "connect", wait_longer)


def _cut_off(connection: Connection) -> None:
    # Whoever waits for this socket reads its end now, and raises as if the server had gone.
    if connection.invalidated:  # it is cut off, and to look at it would connect anew
        return
    with suppress(OSError, SQLAlchemyError, psycopg.Error):
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)


class reading:  # noqa: N801 - it is used as a function, `with reading() as connection`
    """Lend a connection for questions, each of which is a transaction of its own.

    Without a BEGIN and a ROLLBACK around it a SELECT is one round trip, not three.

    Args:
        engine: None: that of the current application.
    """

    __slots__ = ("_connection", "_engine", "_pool")

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or current_engine()

    def __enter__(self) -> Connection:
        self._pool = _pool(self._engine)
        self._connection = self._pool.lend(self._engine)
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._pool.take_back(self._connection)


@contextmanager
def writing(engine: Engine | None = None) -> Iterator[Connection]:
    """Lend a connection with a transaction, committed at the end of the block.

    An exception that leaves the block rolls it all back. On SQLite the block must
    not wait for anything: it holds the only turn to write.
    """
    engine = engine or current_engine()
    with (
        _sqlite_turn if engine.dialect.name == "sqlite" else nullcontext(),
        reading(engine) as connection,
        connection.begin(),
    ):
        _BEGIN[engine.dialect.name].all(connection, {})
        yield connection


def _pool(engine: Engine) -> FairPool:
    pool: Any = engine.pool
    return pool  # type: ignore[no-any-return]


def current_engine() -> Engine:
    """Return the engine of the current application."""
    engine: Engine = current_app.extensions["engine"]
    return engine


def purge_deleted_pages(engine: Engine | None = None) -> bool:
    """Let what was deleted be nowhere in the files of SQLite either; tell whether it is not.

    `secure_delete` overwrites what is deleted, but not the copy of a row that a page keeps in
    its free part when it is split: one in several hundred names was found there. VACUUM writes
    the file anew, if it is not large. The write-ahead log has the pages as they were before,
    until it is cut off.

    PostgreSQL has its own ways, and whoever runs it sees to them.
    """
    engine = engine or current_engine()
    if engine.dialect.name != "sqlite" or engine.url.database is None:
        return True
    with _sqlite_turn:  # others read meanwhile, and wait with what they want to write
        return threads.run("files", _purge_deleted_pages, Path(engine.url.database))


def _purge_deleted_pages(path: Path) -> bool:
    # A connection of its own, as this may be another thread.
    with closing(sqlite3.connect(path, BUSY_SECONDS, isolation_level=None)) as connection:
        if path.stat().st_size <= REWRITTEN_BYTES:
            connection.execute("VACUUM")
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy


def is_unavailable(error: BaseException) -> bool:
    """Tell a database that is away, read-only, full or out of connections from a defect of ours."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    cause = error.orig
    if name := getattr(cause, "sqlite_errorname", None):
        return bool(name.startswith(_SQLITE_UNAVAILABLE))
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return bool(state.startswith(_POSTGRES_UNAVAILABLE))
    # psycopg has no SQLSTATE for what never reached the server.
    return type(cause).__name__ in ("OperationalError", "ConnectionTimeout")


def insert_once(connection: Connection, model: type[Base], **values: Any) -> int | None:
    """Insert a row unless a unique constraint says that it is there already.

    Returns:
        The new row's first primary key, or None if nothing was inserted.
    """
    defaults = {
        column.name: column.default.arg(None) if column.default.is_callable else column.default.arg
        for column in model.__table__.columns
        if column.default is not None
    }
    values = defaults | values
    row = _insert_once(connection.dialect.name, model, tuple(values)).first(connection, values)
    return None if row is None else row[0]


@lru_cache
def _insert_once(dialect: str, model: type[Base], names: tuple[str, ...]) -> Prepared:
    insert = sqlite_insert if dialect == "sqlite" else postgresql_insert
    key = next(iter(model.__table__.primary_key))
    bound: dict[str, Any] = {name: bindparam(name) for name in names}
    return Prepared(insert(model).values(bound).on_conflict_do_nothing().returning(key))
