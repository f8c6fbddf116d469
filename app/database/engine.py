"""The options of connections to SQLite and PostgreSQL."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from app.database import connection as postgresql
from app.database.errors import UnsupportedEncoding
from app.database.pool import FairPool, pool_of

POOL_SECONDS = 1.5  # how long a request waits for a free connection
# How long a transaction of a request may do nothing. A worker whose machine vanished would hold its
# locks, and PostgreSQL notices that after two hours. The watchdog of a living worker is quicker.
IDLE_SECONDS = 5
CONNECT_SECONDS = 2  # how long PostgreSQL may take to accept one; the minimum of libpq

# Session settings that the conversion of values depends on. Variables such as PGTZ or
# PGCLIENTENCODING can change them. The server reports them, so each new connection is checked.
_SESSION = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
}


def engine_options(url: str, pool_size: int) -> dict[str, Any]:
    """Return the options of SQLAlchemy's engine for one of our two databases.

    Args:
        url: A SQLAlchemy URL of SQLite or PostgreSQL.
        pool_size: The maximum of connections. They are opened when needed, and then kept.
    """
    return {
        "poolclass": NullPool,
        "execution_options": {"pool": FairPool(pool_size, POOL_SECONDS)},
        "hide_parameters": True,  # no texts of people and no hashes in the log
        # The drivers begin no transactions; `writing` does.
        "connect_args": {"isolation_level": None}
        if url.startswith("sqlite")
        else _postgresql_options(make_url(url)),
    }


def _postgresql_options(url: URL) -> dict[str, Any]:
    asked = url.query.get("options", ())
    options = [asked] if isinstance(asked, str) else [*asked]
    options.append(f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s")
    return {
        "autocommit": True,
        # psycopg prepares nothing: it would also drop the statements of `Prepared`.
        "prepare_threshold": None,
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "beseda",
        "client_encoding": "utf8",
        # No jit: PostgreSQL compiles the plan if it expects many rows, which took 150 ms for a page
        # of events whose query took 2 ms.
        "options": " ".join([*options, "-c timezone=UTC -c datestyle=ISO,MDY -c jit=off"]),
        # A peer that has vanished is detected within about ten seconds.
        "keepalives_idle": 4,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 8000,
    }


def prepare(engine: Engine) -> None:
    """Set up every new connection of an engine: pragmas, encoding, transactions, the pool."""
    event.listen(engine, "begin", _begin)
    event.listen(engine, "engine_disposed", lambda engine: pool_of(engine).close_idle())
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _create_sqlite)
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "do_connect", _connect_postgresql)


def be_patient(engine: Engine) -> None:
    """Let an operator's command wait longer for SQLite; it blocks nobody."""
    engine.update_execution_options(is_patient=True)


def allow_idling(connection: Connection) -> None:
    """Let a transaction do nothing for as long as it likes: that of a command or a migration."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def connector(url: str) -> Callable[[], postgresql.Connection]:
    """Return a function that opens a connection to PostgreSQL beside the pool.

    It reads the URL as the engine does.
    """
    parsed = make_url(url)
    args, options = parsed.get_dialect()().create_connect_args(parsed)
    return partial(_connect, *args, **{**options, **_postgresql_options(parsed)})


def _begin(connection: Connection) -> None:
    # Connections of the pool are in autocommit mode; `writing` begins its transactions.
    if not connection.get_execution_options().get("is_lent"):
        # IMMEDIATE, because a transaction that reads first and then writes fails without waiting if
        # another wrote in between (SQLITE_BUSY_SNAPSHOT).
        is_sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
        allow_idling(connection)


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # A message is acknowledged only when it is durable, so each commit waits for the disk; commits
    # of many messages share the wait.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA fullfsync = ON")  # macOS: otherwise fsync does not reach the disk
    cursor.execute("PRAGMA foreign_keys = ON")
    # Overwrite deleted rows with zeros; otherwise they stay in free parts of the file.
    cursor.execute("PRAGMA secure_delete = ON")
    # SQLite's own wait would block all greenlets, so `writing` waits instead.
    cursor.execute("PRAGMA busy_timeout = 0")
    cursor.close()


def _create_sqlite(_dialect: Any, _entry: Any, args: Any, options: Any) -> None:
    # Readable for the owner only. SQLite would create it readable for all users; it gives its other
    # files the same mode.
    if not options.get("uri"):
        with suppress(OSError):
            os.close(os.open(args[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _connect_postgresql(_dialect: Any, _entry: Any, args: Any, options: Any) -> DBAPIConnection:
    connection: Any = _connect(*args, **options)
    return connection  # type: ignore[no-any-return]


def _connect(*args: Any, **options: Any) -> postgresql.Connection:
    connection = postgresql.Connection.connect(*args, **options)
    try:
        _check_session(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_session(connection: psycopg.Connection[Any]) -> None:
    reported = connection.info.parameter_status
    if (encoding := reported("server_encoding")) != "UTF8":
        raise UnsupportedEncoding(
            f"The database keeps texts in {encoding}, and Beseda needs UTF-8. Make another one:"
            " createdb --template=template0 --encoding=UTF8 NAME"
        )
    wrong = {name: value for name, value in _SESSION.items() if reported(name) != value}
    if wrong:
        connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in wrong.items()))
