"""A connection of psycopg with a cheaper way to execute statements and to wait for results.

Under gevent psycopg (3.3) waits by `select.poll`, which creates a poll, a watcher and a time-out
for each result, and its cursors analyse each statement and the types of its values again. Together
that was half of the cost of a small query. psycopg's own `RawCursor` would be shorter than `ask`,
but it numbers prepared statements, which is unsafe behind some proxies, and is a quarter slower.
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
    """A connection of psycopg that waits with a single watcher. For one caller at a time."""

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
        """Return the rows of a statement. The server prepares it at its first execution.

        Args:
            statement: SQL with the parameters `$1`, `$2` and so on, whose types it determines.
            values: The parameters, in this order.
            make: Called with the tuple of each row.

        Raises:
            psycopg.Error: As a cursor raises it.
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
        self._adapter.set_pgresult(
            None
        )  # otherwise an idle connection keeps its last result in memory
        return rows

    def _prepare(self, statement: str) -> bytes:
        # Named by a digest of the text: clients of a proxy share server connections, where a number
        # could name the statement of another client.
        digest = blake2b(statement.encode(), digest_size=16).hexdigest()
        name = f"beseda_{digest}_{self._generation}".encode()
        self.pgconn.send_prepare(name, statement.encode())
        try:
            self._result()
        except (
            DuplicatePreparedStatement
        ):  # by another client of the proxy: it is the same statement
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
        """Run a generator of psycopg and return its result; other greenlets run meanwhile.

        Args:
            gen: Yields what it waits for, as bits of libev: 1 to read, 2 to write.
            interval: Ignored; gevent handles signals by itself.
            timeout: The time to wait, in seconds; None: no limit.
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
