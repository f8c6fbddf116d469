"""A connection to PostgreSQL that asks and waits as psycopg does, without what costs most.

Under gevent psycopg (3.3) waits by `select.poll`, which makes a poll, a watcher and a time-out for
each answer. And its cursors look at a statement and the types of its values each time. Together
that took half of what a small question costs the application. psycopg's own `RawCursor` would be
shorter than `ask`, but it numbers prepared statements, which is unsafe behind some proxies, and is
a quarter slower.
"""

from collections.abc import Callable, Generator, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import psycopg
from gevent import get_hub
from gevent.monkey import is_module_patched
from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import (
    DuplicatePreparedStatement,
    FeatureNotSupported,
    InvalidSqlStatementName,
    error_from_result,
)
from psycopg.pq import ExecStatus, Format, TransactionStatus

T = TypeVar("T")

_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class Connection(psycopg.Connection[Any]):
    """A connection of psycopg whose greenlet waits by one watcher. One caller at a time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._names: dict[str, bytes] = {}  # of the statements that the server has prepared
        self._generation = 0  # of the columns that they were prepared for
        self._adapter = Transformer(self)

    def ask(
        self,
        statement: str,
        values: Sequence[Any],
        make: Callable[[Any], T] = tuple,  # type: ignore[assignment]
    ) -> list[T]:
        """Return the rows of a statement, which the server prepares when it is first asked.

        Args:
            statement: Its values are `$1`, `$2` and so on, and their types are plain from it.
            values: In this order.
            make: Is given each row, a tuple.

        Raises:
            psycopg.Error: As from a cursor.
        """
        try:
            return self._ask(statement, values, make)
        except (FeatureNotSupported, InvalidSqlStatementName) as error:
            # Its columns have other types since, or a proxy has given us another server
            # connection, which has not prepared it.
            self._names.clear()
            self._generation += isinstance(error, FeatureNotSupported)
            if self.pgconn.transaction_status != TransactionStatus.IDLE:
                raise
            return self._ask(statement, values, make)

    def _ask(self, statement: str, values: Sequence[Any], make: Callable[[Any], T]) -> list[T]:
        name = self._names.get(statement) or self._prepare(statement)
        dumped = self._adapter.dump_sequence(values, [PyFormat.TEXT] * len(values))
        # In binary: the server does not write times as texts for us to read again.
        self.pgconn.send_query_prepared(name, dumped, result_format=Format.BINARY)
        result = self._result()
        self._adapter.set_pgresult(result)
        rows = self._adapter.load_rows(0, result.ntuples, make)
        self._adapter.set_pgresult(None)  # an idle connection would keep its last page in memory
        return rows

    def _prepare(self, statement: str) -> bytes:
        # A digest of the text, because several clients of a proxy share a server connection: a
        # number would name another client's statement there.
        digest = blake2b(statement.encode(), digest_size=16).hexdigest()
        name = f"beseda_{digest}_{self._generation}".encode()
        self.pgconn.send_prepare(name, statement.encode())
        try:
            self._result()
        except DuplicatePreparedStatement:  # by such another client: it is the same statement
            if self.pgconn.transaction_status != TransactionStatus.IDLE:
                self._names[statement] = name
                raise
        self._names[statement] = name
        return name

    def _result(self) -> Any:
        result, *_ = self.wait(generators.execute(self.pgconn))
        if result.status not in _DONE:
            raise error_from_result(result, self.info.encoding)
        return result

    def wait(
        self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None
    ) -> T:
        """Return what a generator of psycopg returns, waiting where it wants to wait.

        Args:
            gen: Yields what it waits for in the bits of libev: 1 to read, 2 to write.
            interval: How often to look for signals, in seconds; gevent does that by itself.
            timeout: How long to wait, in seconds; None: for ever.
        """
        if timeout is not None or not is_module_patched("select"):
            return super().wait(gen, interval, timeout)
        hub = get_hub()
        ready: Any = None
        try:
            while True:
                ready = gen.send(ready)
                watcher = hub.loop.io(self.pgconn.socket, ready)
                try:
                    hub.wait(watcher)
                finally:
                    watcher.close()
        except StopIteration as done:
            result: T = done.value
            return result
