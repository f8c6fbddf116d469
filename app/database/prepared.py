"""Statements that run many times a second: compiled once, then executed by the driver directly.

SQLAlchemy caches what it compiles, but still takes 60 µs to execute a statement. A driver takes
5 µs for a row of SQLite and 40 µs for a row of PostgreSQL.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NoReturn, TypeAlias, TypeVar

from sqlalchemy import Connection, Dialect, Executable, SelectBase
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError

# A row: its attributes are named after the columns, as in SQLAlchemy.
AnyRow: TypeAlias = Any

_Convert: TypeAlias = Callable[[Any], Any]
T = TypeVar("T")


class Prepared:
    """A statement; each execution passes the values of its `bindparam`s.

    Create it once, at the top of a module. It must not have expanding lists (`IN`) or several rows
    of values.

    Args:
        statement: For `all` and `first` one that returns rows, such as a `select`; for `many` any.
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

    def until(
        self,
        connection: Connection,
        values: Mapping[str, Any],
        is_enough: Callable[[AnyRow], bool],
    ) -> Sequence[AnyRow]:
        """Return the first rows, up to one that is enough; errors as from `all`.

        SQLite reads no more of them. PostgreSQL sends all, so there may be some more.
        """
        compiled = self._for(connection)
        ask = partial(compiled.ask_until, is_enough=is_enough)
        return _run(connection, ask, compiled.sql, compiled.bound(values))

    def first(self, connection: Connection, values: Mapping[str, Any]) -> AnyRow | None:
        """Return the first row, or None; errors as from `all`."""
        return next(iter(self.all(connection, values)), None)

    def many(self, connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement once for each row of values; errors as from `all`."""
        compiled = self._for(connection)
        bound = [compiled.bound(each) for each in values]
        _run(connection, compiled.repeat, compiled.sql, bound, is_many=True)

    def _for(self, connection: Connection) -> "_Compiled":
        name = connection.dialect.name
        compiled = self._compiled.get(name)
        if compiled is None:
            # If two threads compile it at the same time, either result is right.
            kind = _ForSqlite if name == "sqlite" else _ForPostgresql
            compiled = self._compiled[name] = kind(self._statement)
        return compiled


class EnoughContent:
    """Tells with which row there is more than so many bytes of `content`, for `until`."""

    def __init__(self, most: int) -> None:
        self._left = most

    @property
    def is_reached(self) -> bool:
        """Whether there was such a row."""
        return self._left < 0

    def __call__(self, row: AnyRow) -> bool:
        """Count a row, and tell whether it is enough."""
        self._left -= len((row.content or "").encode())
        return self.is_reached


class _Compiled:
    # A statement compiled for one database.

    dialect: Dialect

    def __init__(self, statement: Any) -> None:
        compiled = statement.compile(dialect=self.dialect)
        self.sql = str(compiled)
        self._constants = {
            name: value for name, value in compiled.params.items() if value is not None
        }
        self._positions: Sequence[str] = compiled.positiontup
        self._binders: Mapping[str, _Convert] = {
            name: convert
            for name, bind in compiled.binds.items()
            if (convert := bind.type.dialect_impl(self.dialect).bind_processor(self.dialect))
        }
        self._make: Callable[[Any], AnyRow] = tuple
        if isinstance(statement, SelectBase):
            self._make = _maker(statement.selected_columns, self.dialect)

    def bound(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the parameters in the form of the driver."""
        if self._constants:
            values = {**self._constants, **values}
        if not self._binders:
            return tuple([values[name] for name in self._positions])
        return tuple(
            self._binders[name](values[name]) if name in self._binders else values[name]
            for name in self._positions
        )

    def ask(self, driver: Any, bound: Any) -> Sequence[AnyRow]:
        """Execute the statement and return its rows."""
        raise NotImplementedError

    def ask_until(
        self, driver: Any, bound: Any, is_enough: Callable[[AnyRow], bool]
    ) -> Sequence[AnyRow]:
        """Execute the statement and return its rows up to one that is enough, or more."""
        return self.ask(driver, bound)

    def repeat(self, driver: Any, bound: Any) -> None:
        """Execute the statement for each of these values."""
        raise NotImplementedError


class _ForSqlite(_Compiled):
    dialect = SQLiteDialect_pysqlite()

    def ask(self, driver: Any, bound: Any) -> Sequence[AnyRow]:
        return list(map(self._make, driver.execute(self.sql, bound).fetchall()))

    def ask_until(
        self, driver: Any, bound: Any, is_enough: Callable[[AnyRow], bool]
    ) -> Sequence[AnyRow]:
        rows = []
        with closing(driver.execute(self.sql, bound)) as cursor:
            for row in map(self._make, cursor):
                rows.append(row)
                if is_enough(row):
                    break
        return rows

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
    # Returns a function that makes a row from the driver's tuple.
    named: Any = namedtuple("Row", columns.keys(), rename=True)  # type: ignore[misc]
    make = partial(tuple.__new__, named)  # like `named._make`, but faster
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


def _run(
    connection: Connection,
    function: Callable[[Any, Any], T],
    sql: str,
    bound: Any,
    *,
    is_many: bool = False,
) -> T:
    driver = connection.connection.driver_connection
    # Call SQLAlchemy's event listeners: tracers, and tests that count statements.
    if notify := connection.engine.dispatch.before_cursor_execute:
        notify(connection, None, sql, bound, None, is_many)
    try:
        return function(driver, bound)
    except BaseException as error:
        _raise_as_sqlalchemy(connection, driver, sql, error)


def _raise_as_sqlalchemy(
    connection: Connection, driver: Any, sql: str, error: BaseException
) -> NoReturn:
    dialect = connection.dialect
    driver_error = dialect.loaded_dbapi.Error
    is_of_driver = isinstance(error, driver_error)
    # Do not reuse a connection that is dead, or that a time-out left in the middle of a result.
    is_lost = (
        dialect.is_disconnect(error, driver, None)  # type: ignore[arg-type]
        if is_of_driver
        else not isinstance(error, Exception)
    )
    if is_lost:
        connection.invalidate(error)
    if not is_of_driver:
        raise error
    raise DBAPIError.instance(
        sql,
        None,
        error,
        driver_error,
        hide_parameters=True,
        connection_invalidated=is_lost,
        dialect=dialect,
    ) from error
