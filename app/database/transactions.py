"""Lends connections for queries (`reading`) and for transactions (`writing`).

Services return a connection before they wait for anything else, such as the hashing of a password
or a slow client. A session bound to the request would hold its connection meanwhile, so five logins
would exhaust a pool of five.

Rows are Core rows, not ORM objects: building objects took two thirds of the time of a page of
messages.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import OperationalError

from app.database.engine import allow_idling
from app.database.errors import DatabaseUnavailable
from app.database.pool import pool_of
from app.database.prepared import Prepared
from app.database.sequence import note_wait
from app.database.types import Base
from app.services import services

# A request gets its 503 within five seconds; POOL_SECONDS and one of these fit into them.
ANSWER_SECONDS = 3.0  # how long a connection to PostgreSQL may be lent before it is closed
TURN_SECONDS = 3.0  # how long a writer waits for its turn on SQLite
PATIENT_SECONDS = 60.0  # both, for work that may take longer

_POLL_SECONDS = 0.01

# SQLite has one writer at a time. Writers of this process take turns here, because a wait for the
# lock of the file would block the whole worker.
_sqlite_lock = threading.Lock()

_BEGIN = {"sqlite": Prepared(text("BEGIN IMMEDIATE")), "postgresql": Prepared(text("BEGIN"))}


@contextmanager
def reading(engine: Engine | None = None, *, patient: bool = False) -> Iterator[Connection]:
    """Lend a connection for queries, each of which is its own transaction.

    Without BEGIN and ROLLBACK a SELECT takes one round trip instead of three.

    Args:
        engine: The database; None: that of the current application.
        patient: Whether a statement may take `PATIENT_SECONDS`.

    Raises:
        DatabaseUnavailable: No connection was free in time.
    """
    engine = engine or current_engine()
    pool = pool_of(engine)
    connection = pool.lend(engine, PATIENT_SECONDS if patient else ANSWER_SECONDS)
    try:
        yield connection
    finally:
        pool.take_back(connection)


@contextmanager
def writing(engine: Engine | None = None, *, patient: bool = False) -> Iterator[Connection]:
    """Lend a connection with a transaction, which is committed at the end of the block.

    An exception rolls it back. On SQLite the block must not wait for anything, because no other
    transaction of this process can write meanwhile.

    Args:
        engine: The database; None: that of the current application.
        patient: Whether the turn and a statement may take `PATIENT_SECONDS`.

    Raises:
        DatabaseUnavailable: No connection was free in time, or another process writes to SQLite.
    """
    engine = engine or current_engine()
    began = monotonic()
    until = began + _turn_seconds(engine, patient)
    with (
        sqlite_turn(engine, patient=patient) if engine.dialect.name == "sqlite" else nullcontext(),
        reading(engine, patient=patient) as connection,
        connection.begin(),
    ):
        _begin(connection, until)
        if engine.get_execution_options().get("is_patient"):
            allow_idling(connection)
        if engine.dialect.name == "sqlite":  # which has one lock for everything
            note_wait(monotonic() - began)
        yield connection


@contextmanager
def sqlite_turn(engine: Engine, *, patient: bool = False) -> Iterator[None]:
    """Take the turn of this process to write to SQLite.

    Raises:
        DatabaseUnavailable: Other transactions held the turn for too long.
    """
    if not _sqlite_lock.acquire(timeout=_turn_seconds(engine, patient)):
        raise DatabaseUnavailable("other transactions write to SQLite")
    try:
        yield
    finally:
        _sqlite_lock.release()


def _turn_seconds(engine: Engine, patient: bool) -> float:
    is_patient = patient or engine.get_execution_options().get("is_patient")
    return PATIENT_SECONDS if is_patient else TURN_SECONDS


def _begin(connection: Connection, until: float) -> None:
    begin = _BEGIN[connection.dialect.name]
    while True:
        try:
            begin.all(connection, {})
            return
        except OperationalError as error:
            # Another process writes to SQLite. SQLite's own wait would block all greenlets.
            name = getattr(error.orig, "sqlite_errorname", "")
            if not name.startswith("SQLITE_BUSY") or monotonic() >= until:
                raise
        sleep(_POLL_SECONDS)


def current_engine() -> Engine:
    """Return the engine of the current application."""
    return services().engine


def insert_once(connection: Connection, model: type[Base], **values: Any) -> int | None:
    """Insert a row unless it violates a unique constraint.

    Returns:
        The first primary key column of the new row, or None if nothing was inserted.
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
