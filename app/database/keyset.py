"""Reads lists part by part, by the id of the last row seen ("keyset pagination").

Source: https://use-the-index-luke.com/no-offset
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    SQLColumnExpression,
    bindparam,
    tuple_,
)

from app.database.prepared import AnyRow, Prepared
from app.database.types import LARGEST_ID

AnySelect: TypeAlias = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is asked for.

    Attributes:
        limit: The most items, 1 or more.
        before: Only items with a smaller id.
        after: Only items with a larger id, the oldest of them.
    """

    limit: int
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list, oldest first, and whether there are more on either side.

    Each row's first column is its id.
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
    """Return the conditions for the rows of one list among many in a table.

    They compare rows. With `partition = …` PostgreSQL would leave that column out of the order:
    it may then walk the primary key, through everybody's newer rows, to an old list.

    Args:
        partition: The column that says which list it is. It needs an index with `identity`.
        identity: The column that the list is ordered by.
        value: The value of `partition`.
        above: Only rows with a larger identity.
        up_to: Only rows with this identity or a smaller one.
    """
    row = tuple_(partition, identity)
    return row > tuple_(value, above), row <= tuple_(value, up_to)


class KeysetQuery:
    """A list that is read page by page.

    Make it once, with the module, like every `Prepared`.

    Args:
        query: The whole list, its id first, without an order. What differs from caller to
            caller is a `bindparam` of it.
        identity: The column that the list is ordered by.
        partition: The column that says which list it is, such as the room of messages, if one
            table has many lists. It needs an index on both, in this order.
        partition_value: Its value, where the database looks it up; None: the parameter
            `partition` of `read`.
    """

    def __init__(
        self,
        query: AnySelect,
        identity: SQLColumnExpression[int],
        partition: SQLColumnExpression[int] | None = None,
        partition_value: SQLColumnExpression[int] | None = None,
    ) -> None:
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
        """Read one page, its rows in ascending order, even where the newest are asked for.

        Args:
            connection: Where from.
            page: Which part.
            parameters: Of the query; `partition` among them, if the list has one.
        """
        if page.after is not None:
            rows = self.after(connection, page.after, page.limit + 1, **parameters)
            older = self._any(connection, 0, page.after, parameters)
            return Page(rows[: page.limit], older, newer=len(rows) > page.limit)
        up_to = LARGEST_ID if page.before is None else page.before - 1
        bounds = {"above": 0, "up_to": up_to, "limit": page.limit + 1}
        rows = self._newest.all(connection, parameters | bounds)
        newer = up_to < LARGEST_ID and self._any(connection, up_to, LARGEST_ID, parameters)
        return Page(rows[: page.limit][::-1], older=len(rows) > page.limit, newer=newer)

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
