"""How a connection to PostgreSQL asks and waits: as psycopg does, without what costs most.

Under gevent psycopg (3.3) waits by `select.poll`: a poll, a watcher and a time-out are made for
each answer. And its cursors look at a statement and the types of its values each time. Together
that took half of what a small question costs the application.
"""

from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Any, TypeVar

import psycopg
from gevent import get_hub
from gevent.monkey import is_module_patched
from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus

T = TypeVar("T")

_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class Connection(psycopg.Connection[Any]):
    """A connection of psycopg whose greenlet waits by one watcher. Used by one at a time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._names: dict[str, bytes] = {}  # of the statements that the server has prepared
        self._numbers = count()
        self._adapter = Transformer(self)

    def ask(
        self,
        statement: str,
        values: Sequence[Any],
        make: Callable[[Any], T] = tuple,  # type: ignore[assignment]
    ) -> list[T]:
        """Return the rows of a statement, which the server prepares when it is first asked.

        Args:
            statement: Its values stand in it as `$1`, `$2` and so on, of types that it makes plain.
            values: In this order.
            make: Is given each row, a tuple.

        Raises:
            psycopg.Error: As from a cursor.
        """
        try:
            return self._ask(statement, values, make)
        except (FeatureNotSupported, InvalidSqlStatementName):
            # It was prepared for columns that have got other types since, or a proxy has let the
            # server forget what it has prepared.
            self._names.clear()
            if self.pgconn.transaction_status != TransactionStatus.IDLE:
                raise
            return self._ask(statement, values, make)

    def _ask(self, statement: str, values: Sequence[Any], make: Callable[[Any], T]) -> list[T]:
        name = self._names.get(statement) or self._prepare(statement)
        dumped = self._adapter.dump_sequence(values, [PyFormat.TEXT] * len(values))
        # Rows come as PostgreSQL has them: nobody writes a time out as a text, and reads it again.
        self.pgconn.send_query_prepared(name, dumped, result_format=Format.BINARY)
        result = self._result()
        self._adapter.set_pgresult(result)
        return self._adapter.load_rows(0, result.ntuples, make)

    def _prepare(self, statement: str) -> bytes:
        name = b"beseda_%d" % next(self._numbers)
        self.pgconn.send_prepare(name, statement.encode())
        self._result()
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
        """Return what a generator of psycopg returns, doing its waiting for it.

        Args:
            gen: Yields what it waits for, which are the bits of libev: 1 to read, 2 to write.
            interval: How often to look for signals, in seconds; gevent does that by itself.
            timeout: After how many seconds to give up; None: never.
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
