"""Statements that are asked many times a second: compiled once, then handed to the driver.

SQLAlchemy keeps what it has compiled, and still takes 60 µs to execute it. A driver needs 5 µs for
a row of SQLite, and 40 µs for one of PostgreSQL.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeAlias, TypeVar

from sqlalchemy import Connection, Dialect, Executable, SelectBase
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError

# Its attributes are named after the columns, like those of SQLAlchemy's rows.
AnyRow: TypeAlias = Any

_Convert: TypeAlias = Callable[[Any], Any]
T = TypeVar("T")


class Prepared:
    """A statement for which each execution brings the values of its `bindparam`s.

    Make it once, with the module. It must not have lists that expand (`IN`), nor several rows of
    values.

    Args:
        statement: For `all` and `first` one that has rows, such as a `select`; for `many` any.
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
            # If two threads compile it at once, either result will do.
            kind = _ForSqlite if name == "sqlite" else _ForPostgresql
            compiled = self._compiled[name] = kind(self._statement)
        return compiled


class _Compiled:
    # In the SQL of one database.

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
    # Returns what makes a row of a tuple of the driver.
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


def _run(connection: Connection, function: Callable[[Any, Any], T], sql: str, bound: Any) -> T:
    driver = connection.connection.driver_connection
    # Event listeners (a tracer, a test that counts) are told, as SQLAlchemy does.
    if notify := connection.engine.dispatch.before_cursor_execute:
        notify(connection, None, sql, bound, None, function.__name__ == "repeat")
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
    # A connection that is dead, or that a time-out left in the middle of an answer, is not reused.
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
