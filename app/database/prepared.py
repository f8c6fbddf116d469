"""Statements that are asked many times a second: compiled once, then handed to the driver.

What SQLAlchemy does each time it executes a statement, although it keeps what it has compiled,
takes 60 µs. A driver needs 5 µs for a row of SQLite, and 40 µs for one of PostgreSQL.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Dialect, Executable, SelectBase
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

# Named after the columns, as rows of SQLAlchemy are; their types are those of the columns.
AnyRow: TypeAlias = Any

_Convert: TypeAlias = Callable[[Any], Any]
T = TypeVar("T")


class Prepared:
    """A statement for which each execution brings the values of its `bindparam`s.

    Make it once, with the module. It has no lists that expand (`IN`), and one row of values.

    Args:
        statement: A `select`, or what else is asked by `all` if it has rows, or by `many`.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def all(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[AnyRow]:
        """Return all rows.

        Raises:
            DBAPIError: As `Connection.execute` does.
        """
        compiled = self._for(connection)
        bound = compiled.bound(values)
        return _run(connection, compiled.ask, compiled.sql, bound)

    def first(self, connection: Connection, values: Mapping[str, Any]) -> AnyRow | None:
        """Return the first row, or None; likewise."""
        return next(iter(self.all(connection, values)), None)

    def many(self, connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement once for each row of values; likewise."""
        compiled = self._for(connection)
        bound = [compiled.bound(each) for each in values]
        _run(connection, compiled.repeat, compiled.sql, bound)

    def _for(self, connection: Connection) -> "_Compiled":
        name = connection.dialect.name
        compiled = self._compiled.get(name)
        if compiled is None:
            # Two threads may make it at once; either is good.
            kind = _ForSqlite if name == "sqlite" else _ForPostgresql
            compiled = self._compiled[name] = kind(self._statement)
        return compiled


class _Compiled:
    # In one database's words.

    dialect: Dialect

    def __init__(self, statement: Any) -> None:
        compiled = statement.compile(dialect=self.dialect)
        self.sql = str(compiled)
        self._constants = {
            name: value for name, value in compiled.params.items() if value is not None
        }
        self._positions: Sequence[str] = compiled.positiontup
        self._binders: Mapping[str, _Convert] = compiled._bind_processors
        self._make: Callable[[Any], AnyRow] = tuple
        if isinstance(statement, SelectBase):
            self._make = _maker(statement.selected_columns, self.dialect)

    def bound(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return values as the driver takes them."""
        if self._constants:
            values = {**self._constants, **values}
        if not self._binders:
            return tuple([values[name] for name in self._positions])
        return tuple(
            self._binders[name](values[name]) if name in self._binders else values[name]
            for name in self._positions
        )

    def ask(self, driver: Any, bound: Any) -> Sequence[AnyRow]:
        """Return the rows that the driver's connection has for these values."""
        raise NotImplementedError

    def repeat(self, driver: Any, bound: Any) -> None:
        """Ask for each of these values."""
        raise NotImplementedError


class _ForSqlite(_Compiled):
    dialect = SQLiteDialect_pysqlite()

    def ask(self, driver: Any, bound: Any) -> Sequence[AnyRow]:
        return list(map(self._make, driver.execute(self.sql, bound).fetchall()))

    def repeat(self, driver: Any, bound: Any) -> None:
        driver.executemany(self.sql, bound)


class _ForPostgresql(_Compiled):
    dialect: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

    def ask(self, driver: Any, bound: Any) -> Sequence[AnyRow]:
        rows: Sequence[AnyRow] = driver.ask(self.sql, bound, self._make)
        return rows

    def repeat(self, driver: Any, bound: Any) -> None:
        for each in bound:
            driver.ask(self.sql, each)


def _maker(columns: Any, dialect: Dialect) -> Callable[[Any], AnyRow]:
    # What makes a row of a tuple of the driver.
    named: Any = namedtuple("Row", columns.keys(), rename=True)  # type: ignore[misc]
    make = partial(tuple.__new__, named)  # as `_make` does, but quicker
    converters = []
    for place, column in enumerate(columns):
        if convert := column.type.dialect_impl(dialect).result_processor(dialect, None):
            converters.append((place, convert))
    if not converters:
        return make

    def converted(row: Any) -> AnyRow:
        values = list(row)
        for place, convert in converters:
            values[place] = convert(values[place])
        return make(values)

    return converted


def _run(connection: Connection, function: Callable[[Any, Any], T], sql: str, bound: Any) -> T:
    driver = connection.connection.driver_connection
    # Whoever listens to what is executed (a tracer, a test that counts) hears of it as well.
    if notify := connection.engine.dispatch.before_cursor_execute:
        notify(connection, None, sql, bound, None, function.__name__ == "repeat")
    try:
        return function(driver, bound)
    except BaseException as error:
        # As SQLAlchemy does it: its own kind of error, and a connection that is dead, or was left
        # in the middle of an answer, leaves the pool.
        connection._handle_dbapi_exception(error, sql, None, None, None)
