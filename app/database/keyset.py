"""Keyset pagination: reads a list page by page, from the id of the last row of a page.

Source: https://use-the-index-luke.com/no-offset
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    SQLColumnExpression,
    String,
    bindparam,
    tuple_,
)

from app.database.prepared import AnyRow, Prepared
from app.database.types import LARGEST_ID

AnySelect: TypeAlias = Select[*tuple[Any, ...]]


PAGE_BYTES = 1024 * 1024  # of text on one page; a page ends with the row that exceeds it
ROWS_AT_ONCE = 101  # rows of one query: a usual page takes one, and none takes many megabytes
_LONG_TEXT = 1000  # characters; lists with longer columns are read ROWS_AT_ONCE rows at a time


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The part of a list that is requested.

    Attributes:
        limit: The maximum of items, 1 or more.
        before: Only items with a smaller id.
        after: Only items with a larger id, the oldest of them.
    """

    limit: int
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list, oldest first, and whether there are more rows before and after them.

    The first column of each row is its id.
    """

    rows: Sequence[AnyRow]
    older: bool
    newer: bool


def key_range(
    partition: SQLColumnExpression[int],
    identity: SQLColumnExpression[int],
    value: Any,
    above: Any,
    up_to: Any,
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions for a range of one list, if a table has many lists.

    They compare pairs of columns. With `partition = …` PostgreSQL might read the index of the
    primary key, through the newer rows of all lists, to find an old list.

    Args:
        partition: The column that tells the lists apart. It needs an index with `identity`.
        identity: The column that the list is ordered by.
        value: The value of `partition`.
        above: Only rows with a larger identity.
        up_to: Only rows with this identity or a smaller one.
    """
    row = tuple_(partition, identity)
    return row > tuple_(value, above), row <= tuple_(value, up_to)


def fitting(sizes: Iterable[int]) -> int:
    """Return how many texts of these sizes, in bytes, fit on a page; at least one."""
    return sum(total <= PAGE_BYTES for total in accumulate(sizes)) or 1


def _bounded(
    query: Prepared,
    connection: Connection,
    parameters: dict[str, Any],
    cursor: str,
    *,
    limit: int,
    at_once: int,
) -> tuple[list[AnyRow], bool]:
    """Read rows until `limit` or `PAGE_BYTES` is reached.

    Args:
        query: The query, in the wanted order.
        connection: The connection.
        parameters: The parameters of the query.
        cursor: The parameter that advances with the rows that were read: `above` or `up_to`.
        limit: The maximum of rows.
        at_once: The maximum of rows of one query.

    Returns:
        The rows, and whether there are more.
    """
    rows: list[AnyRow] = []
    size = 0
    while True:
        asked = min(limit + 1 - len(rows), at_once)
        found = query.all(connection, parameters | {"limit": asked})
        for row in found:
            if len(rows) == limit or size > PAGE_BYTES:
                return rows, True
            rows.append(row)
            size += sum(len(value.encode()) for value in row if isinstance(value, str))
        if len(found) < asked:
            return rows, False
        parameters[cursor] = rows[-1][0] - (cursor == "up_to")


class KeysetQuery:
    """A list that is read page by page.

    Create it once, at the top of a module, like every `Prepared`.

    Args:
        query: The whole list without an order; its first column is the id. Parameters are
            `bindparam`s.
        identity: The column that the list is ordered by.
        partition: The column that tells the lists apart if one table has many, such as the room of
            messages. It needs an index on both columns, in this order.
        partition_value: An expression for its value; None: the parameter `partition` of `read`.
    """

    def __init__(
        self,
        query: AnySelect,
        identity: SQLColumnExpression[int],
        partition: SQLColumnExpression[int] | None = None,
        partition_value: SQLColumnExpression[int] | None = None,
    ) -> None:
        texts = [each.type for each in query.selected_columns if isinstance(each.type, String)]
        is_long = any((each.length or _LONG_TEXT) >= _LONG_TEXT for each in texts)
        self._at_once = ROWS_AT_ONCE if is_long else LARGEST_ID
        above, up_to = bindparam("above", type_=BigInteger), bindparam("up_to", type_=BigInteger)
        order = (identity,) if partition is None else (partition, identity)
        if partition is None:
            query = query.where(identity > above, identity <= up_to)
        else:
            if partition_value is None:
                partition_value = bindparam("partition", type_=BigInteger)
            query = query.where(*key_range(partition, identity, partition_value, above, up_to))
        limit = bindparam("limit", type_=BigInteger)
        self._oldest = Prepared(query.order_by(*order).limit(limit))
        self._newest = Prepared(query.order_by(*(column.desc() for column in order)).limit(limit))

    def read(self, connection: Connection, page: PageRequest, **parameters: Any) -> Page:
        """Read one page. Its rows are always in ascending order.

        Args:
            connection: The connection.
            page: The part of the list.
            parameters: The parameters of the query, with `partition` if the list has one.
        """
        if page.after is not None:
            bounds = parameters | {"above": page.after, "up_to": LARGEST_ID}
            rows, is_more = _bounded(
                self._oldest, connection, bounds, "above", limit=page.limit, at_once=self._at_once
            )
            older = self._any(connection, 0, page.after, parameters)
            return Page(rows, older, newer=is_more)
        up_to = LARGEST_ID if page.before is None else page.before - 1
        bounds = parameters | {"above": 0, "up_to": up_to}
        rows, is_more = _bounded(
            self._newest, connection, bounds, "up_to", limit=page.limit, at_once=self._at_once
        )
        newer = up_to < LARGEST_ID and self._any(connection, up_to, LARGEST_ID, parameters)
        return Page(rows[::-1], older=is_more, newer=newer)

    def after(
        self, connection: Connection, item_id: int, limit: int, **parameters: Any
    ) -> Sequence[AnyRow]:
        """Return the oldest rows that are newer than an id, in ascending order."""
        bounds = {"above": item_id, "up_to": LARGEST_ID, "limit": limit}
        return self._oldest.all(connection, parameters | bounds)

    def _any(
        self, connection: Connection, above: int, up_to: int, parameters: Mapping[str, Any]
    ) -> bool:
        bounds = {"above": above, "up_to": up_to, "limit": 1}
        return self._oldest.first(connection, {**parameters, **bounds}) is not None
