"""The sequence of event ids: numbers that become visible in ascending order.

Messages and all other events of a stream take their ids here. A transaction that takes an id holds
a lock until it ends. PostgreSQL makes a transaction visible before it releases its locks, so when
an id is taken, all smaller ids are visible or were rolled back. SQLite has one writer at a time, so
BEGIN IMMEDIATE is that lock.

Take all other locks before an id. If a transaction with an id waited for a row of a transaction
that waits for an id, all writers would wait for these two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection, Executable, text

from app.database.prepared import Prepared

# The lock that `nextval_in_order` takes, as in its migration ("beseda", 2).
LOCK = 0x6265736564610002

# A frozen worker that holds the lock would block all writers, so PostgreSQL ends its transaction
# after this time.
_IDLE_SECONDS = 3

_ON_POSTGRESQL = Prepared(
    text(f"""
    SELECT nextval_in_order('messages_id_seq'),
        CAST(extract(epoch FROM clock_timestamp() - statement_timestamp()) AS float8)
    FROM generate_series(1, CAST(:count AS bigint)),
        set_config('idle_in_transaction_session_timeout', '{_IDLE_SECONDS}s', true)
""")  # noqa: S608
)
_ON_SQLITE = Prepared(
    text("UPDATE sqlite_sequence SET seq = seq + :count WHERE name = 'messages' RETURNING seq")
)


@dataclass(slots=True)
class Waits:
    """How long the transactions of this worker waited for the lock, and for those before it.

    Attributes:
        times: Transactions that took it.
        seconds: What they waited, all together.
        last: What the last one of them waited.
    """

    times: int = 0
    seconds: float = 0.0
    last: float = 0.0


waits = Waits()


def note_wait(seconds: float) -> None:
    """Count a transaction that has the lock.

    Args:
        seconds: How long it waited.
    """
    waits.times += 1
    waits.seconds += seconds
    waits.last = seconds


def draw(connection: Connection, count: int = 1) -> range:
    """Take event ids in the caller's transaction, which must not lock anything afterwards.

    Args:
        connection: A transaction that holds all its other locks.
        count: The number of ids; each changed row has its own.

    Returns:
        Consecutive numbers, greater than all visible ones.
    """
    if not count:
        return range(0)
    if connection.dialect.name == "sqlite":
        ((last,),) = _ON_SQLITE.all(connection, {"count": count})
        return range(last - count + 1, last + 1)
    rows = _ON_POSTGRESQL.all(connection, {"count": count})
    (first, waited), (last, _) = rows[0], rows[-1]
    note_wait(waited)
    return range(first, last + 1)


Change: TypeAlias = Callable[[int], Executable]


def write_changes(connection: Connection, changes: Sequence[Change]) -> range:
    """Change rows, each with its own event id, as the last step of a transaction.

    Args:
        connection: A transaction that has locked all these rows.
        changes: Functions, each of which returns the statement for the event id it is given.

    Returns:
        The event ids; announce them after the commit.
    """
    numbers = draw(connection, len(changes))
    for number, change in zip(numbers, changes, strict=True):
        connection.execute(change(number))
    return numbers


def last_drawn(connection: Connection, table: str) -> int:
    """Return the greatest id that was drawn for the rows of a table; 0 before the first.

    Args:
        connection: Where to look.
        table: Its name, from our own code.
    """
    if connection.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :table").bindparams(table=table)
    else:
        query = text(
            f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_id_seq"  # noqa: S608
        )
    return connection.scalar(query) or 0
