"""Copies one database into another of either kind: every row of every table, or nothing.

It does not know what the tables mean: it copies all of `db.metadata`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, func, insert, inspect, select, text

from app.database import revisions
from app.database.engine import allow_idling
from app.database.transactions import reading, writing
from app.extensions import db

ROWS_AT_ONCE = 1000


class CopyError(Exception):
    """Nothing was copied; the text says why, and what to do."""


@dataclass(frozen=True)
class Copied:
    """The result of a copy.

    Attributes:
        tables: The number of rows of each table.
        is_outdated: Whether rows were added to the source meanwhile.
    """

    tables: dict[str, int]
    is_outdated: bool


def rows_in(source: Engine) -> int:
    """Return the number of rows that will be copied."""
    with _snapshot(source) as connection:
        return sum(_counts(connection).values())


def copy_database(source: Engine, target: Engine, progress: Callable[[int], object]) -> Copied:
    """Copy all rows, with their ids, into an empty database, in one transaction.

    Missing tables are created. Ids of deleted rows are not used again in the target. All rows are
    read back and compared before the commit.

    Args:
        source: The database to copy. It is read in the state of one moment.
        target: A database without tables, or with empty tables of this release.
        progress: Called with numbers of rows. Each row counts twice: copied, then compared.

    Raises:
        CopyError: Nothing was copied.
        SQLAlchemyError: Nothing was copied.
    """
    with _snapshot(source) as reader, writing(target) as writer:
        allow_idling(writer)
        _check_source(reader)
        _prepare_target(writer)
        marks = _counts(reader), _last_ids(reader)
        digests = {
            table: _digest(_copied(reader, writer, table), progress)
            for table in db.metadata.sorted_tables
        }
        for table, digest in digests.items():
            if _digest(_rows(writer, table), progress) != digest:
                raise CopyError(f"The rows in the copy of {table.name} differ from the original.")
        _set_last_ids(writer, marks[1])
        if _last_ids(writer) != marks[1]:
            raise CopyError("The sequences of the target could not be set.")
    with _snapshot(source) as reader:
        is_outdated = (_counts(reader), _last_ids(reader)) != marks
    return Copied(marks[0], is_outdated)


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    # All reads see one state, and no writer has to wait.
    level = "" if engine.dialect.name == "sqlite" else "ISOLATION LEVEL REPEATABLE READ"
    with reading(engine) as connection:
        connection.exec_driver_sql(f"BEGIN {level}")
        allow_idling(connection)
        yield connection


def _check_source(connection: Connection) -> None:
    if not inspect(connection).has_table("alembic_version") or (
        revisions.found_in(connection) != revisions.heads()
    ):
        raise CopyError(
            "The database to copy does not have the tables of this release."
            " Run first: ./beseda db upgrade"
        )


def _prepare_target(connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names())
    found = revisions.found_in(connection) if "alembic_version" in tables else frozenset()
    if not found and not tables & db.metadata.tables.keys():
        revisions.upgrade(connection)
        return
    if found != revisions.heads():
        shown = ", ".join(sorted(found)) or "none"
        raise CopyError(
            f"The target has tables, but not those of this release (its revision: {shown})."
            " Copy into an empty database."
        )
    if full := [name for name, count in _counts(connection).items() if count]:
        raise CopyError(
            f"The target is not empty: there are rows in {', '.join(full)}."
            " Copy into an empty database."
        )


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in db.metadata.sorted_tables
    }


# Rows


def _rows(connection: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    query = select(table).order_by(*table.primary_key)
    with connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}) as result:
        yield from result.partitions()


def _copied(reader: Connection, writer: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    for rows in _rows(reader, table):
        writer.execute(insert(table), [row._asdict() for row in rows])
        yield rows


def _digest(parts: Iterable[Sequence[Row[Any]]], progress: Callable[[int], object]) -> int:
    # Sums of the rows' digests, because the databases sort texts differently.
    total = 0
    for rows in parts:
        for row in rows:
            plain = repr([_comparable(value) for value in row]).encode(errors="surrogatepass")
            total += int.from_bytes(hashlib.sha256(plain).digest())
        progress(len(rows))
    return total


def _comparable(value: Any) -> Any:
    # Equal times may have different objects for UTC.
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


# Sequences


def _last_ids(connection: Connection) -> dict[str, int]:
    """Return the highest id of each table, including deleted rows."""
    return {
        table.name: max(
            _last_drawn(connection, table),
            connection.scalar(select(func.max(table.autoincrement_column))) or 0,
        )
        for table in db.metadata.sorted_tables
        if table.autoincrement_column is not None
    }


def _last_drawn(connection: Connection, table: Table) -> int:
    if connection.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return connection.scalar(query, {"name": table.name}) or 0
    sequence = _sequence(connection, table)
    if sequence is None:
        return 0
    query = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608
    return connection.scalar(query) or 0


def _set_last_ids(connection: Connection, last_ids: dict[str, int]) -> None:
    for name, last_id in last_ids.items():
        if not last_id:
            continue
        values = {"name": name, "last": last_id}
        if connection.dialect.name == "sqlite":
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            connection.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), values)
        elif sequence := _sequence(connection, db.metadata.tables[name]):
            connection.execute(
                text("SELECT setval(:sequence, :last)"), values | {"sequence": sequence}
            )


def _sequence(connection: Connection, table: Table) -> str | None:
    (column,) = table.primary_key  # tables with generated ids have one
    query = text("SELECT pg_get_serial_sequence(:table, :column)")
    name: str | None = connection.scalar(query, {"table": table.name, "column": column.name})
    return name
