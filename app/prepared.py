"""Statements that are asked many times a second: compiled once, then handed to the driver.

What SQLAlchemy does each time it executes a statement, although it keeps what it has compiled,
takes 60 µs. A driver needs 5 µs for a row of SQLite, and 80 µs for one of PostgreSQL.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import Connection, Dialect, Executable, Select

# Named after the columns, as rows of SQLAlchemy are; their types are those of the columns.
AnyRow: TypeAlias = Any

_Convert: TypeAlias = Callable[[Any], Any]


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
        with _cursor(connection, compiled.sql, bound) as cursor:
            cursor.execute(compiled.sql, bound)
            rows = cursor.fetchall()  # SQLite still works on them, so this may fail as well
        return compiled.made(rows)

    def first(self, connection: Connection, values: Mapping[str, Any]) -> AnyRow | None:
        """Return the first row, or None; likewise."""
        return next(iter(self.all(connection, values)), None)

    def many(self, connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement once for each row of values; likewise."""
        compiled = self._for(connection)
        bound = [compiled.bound(each) for each in values]
        with _cursor(connection, compiled.sql, bound) as cursor:
            cursor.executemany(compiled.sql, bound)

    def _for(self, connection: Connection) -> "_Compiled":
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, dialect)
        return compiled


class _Compiled:
    # In one database's words. Two threads may make it at once; either is good.

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._constants = {
            name: value for name, value in compiled.params.items() if value is not None
        }
        self._positions: Sequence[str] | None = compiled.positiontup
        self._binders: Mapping[str, _Convert] = compiled._bind_processors
        self._make: Callable[[Any], AnyRow] = tuple
        self._converters: list[tuple[int, _Convert]] = []
        if isinstance(statement, Select):
            columns = statement.selected_columns
            named: Any = namedtuple("Row", columns.keys(), rename=True)  # type: ignore[misc]
            self._make = named._make
            for place, column in enumerate(columns):
                kind = column.type.dialect_impl(dialect)
                if convert := kind.result_processor(dialect, None):
                    self._converters.append((place, convert))

    def bound(self, values: Mapping[str, Any]) -> Any:
        """Return values as the driver takes them."""
        if self._constants:
            values = {**self._constants, **values}
        if self._binders:
            values = {
                name: self._binders[name](value) if name in self._binders else value
                for name, value in values.items()
            }
        return (
            values if self._positions is None else tuple(values[name] for name in self._positions)
        )

    def made(self, rows: Sequence[Any]) -> Sequence[AnyRow]:
        """Return the driver's rows with names, and of Python's types."""
        if not self._converters:
            return list(map(self._make, rows))
        return [self._made(row) for row in rows]

    def _made(self, row: Sequence[Any]) -> AnyRow:
        converted = list(row)
        for place, convert in self._converters:
            converted[place] = convert(converted[place])
        return self._make(converted)


@contextmanager
def _cursor(connection: Connection, sql: str, bound: Any) -> Iterator[Any]:
    cursor = connection.connection.driver_connection.cursor()  # type: ignore[union-attr]
    # Whoever listens to what is executed (a tracer, a test that counts) hears of it as well.
    connection.dispatch.before_cursor_execute(
        connection, cursor, sql, bound, None, isinstance(bound, list)
    )
    try:
        yield cursor
    except BaseException as error:
        # As SQLAlchemy does it: its own kind of error, and a connection that is dead, or was left
        # in the middle of an answer, leaves the pool.
        connection._handle_dbapi_exception(error, sql, None, None, None)
