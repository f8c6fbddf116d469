"""Lists: a bare JSON array, oldest first, with a `Link` to what lies on either side (RFC 8288)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias
from urllib.parse import quote, urlencode

from flask import Request, Response, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
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
from app.http.annotations import documents_header, notes_of
from app.http.errors import BadInput
from app.http.fields import LARGEST_ID, whole_number

MOST_USERS = MOST_ROOMS = MOST_ITEMS = 1000
DEFAULT_ITEMS = 100

AnySelect: TypeAlias = Select[*tuple[Any, ...]]
P = ParamSpec("P")

_LEAST = {"limit": 1, "before": 0, "after": 0}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is asked for.

    Attributes:
        limit: Items at most, 1 or more.
        before: Only items with a smaller id.
        after: Only items with a larger id, the oldest of them.
    """

    limit: int
    before: int | None = None
    after: int | None = None

    @classmethod
    def of(cls, request: Request, default: int, most: int) -> Self:
        """Read `?limit=`, `?before=` and `?after=`.

        Args:
            request: Where from.
            default: The limit when none is asked for.
            most: What a larger limit is cut to.

        Raises:
            BadInput: One of them is no number or too small, or both cursors are given.
        """
        if not request.query_string:
            return cls(default)
        errors: dict[str, list[Any]] = {}
        numbers: dict[str, int] = {}
        for name, least in _LEAST.items():
            text = request.args.get(name)
            if text is None:
                continue
            number = whole_number(text)
            if number is None or number < least:
                errors[name] = [_too_small(least)]
            else:
                numbers[name] = number
        if "before" in numbers and "after" in numbers:
            both = _("Either before or after, not both.")
            errors |= {"before": [both], "after": [both]}
        if errors:
            raise BadInput(errors)
        return cls(min(numbers.pop("limit", default), most), **numbers)


def paged(
    default: int, most: int
) -> Callable[[Callable[Concatenate[PageRequest, P], Response]], Callable[P, Response]]:
    """Give a view the part of its list that is asked for, as its first argument.

    Args:
        default: Items where no limit is asked for.
        most: What a larger limit is cut to.
    """
    sentences = {
        "limit": f"Items at most: {default} if it is not given, {most} if it is more.",
        "before": "Only items with a smaller id, the newest of them. Not together with `after`.",
        "after": "Only items with a larger id, the oldest of them.",
    }

    def decorate(view: Callable[Concatenate[PageRequest, P], Response]) -> Callable[P, Response]:
        @wraps(view)
        def with_page_request(*args: P.args, **kwargs: P.kwargs) -> Response:
            return view(PageRequest.of(request, default, most), *args, **kwargs)

        for name, sentence in sentences.items():
            notes_of(with_page_request).parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "description": sentence,
                    "schema": {"type": "integer", "minimum": _LEAST[name]},
                }
            )
        notes_of(with_page_request).errors.append(BadInput({"limit": [_too_small(1)]}))
        return documents_header("Link", 'More items: `rel="prev"` older, `rel="next"` newer ones.')(
            with_page_request
        )

    return decorate


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list, oldest first, and whether there are more on either side."""

    rows: Sequence[AnyRow]
    older: bool
    newer: bool

    def link(self, window: PageRequest) -> dict[str, str]:
        """Return the `Link` header, or nothing where the page is the whole list.

        Each row's first column is its id.
        """
        links = []
        if self.older:
            cursor = self.rows[0][0] if self.rows else (window.after or 0) + 1
            links.append(_link("prev", window, before=cursor))
        if self.newer:
            cursor = self.rows[-1][0] if self.rows else max((window.before or 0) - 1, 0)
            links.append(_link("next", window, after=cursor))
        return {"Link": ", ".join(links)} if links else {}


def _too_small(least: int) -> LazyString:
    return _("A whole number from %(least)d on is expected.", least=least)


def _link(relation: str, window: PageRequest, **cursor: int) -> str:
    asked = request.args.items() if request.query_string else ()
    kept = {key: value for key, value in asked if key not in ("before", "after")}
    query = urlencode(kept | {"limit": window.limit} | cursor)
    path = quote(request.path, safe="/@+~")  # a header has no room for other letters
    return f'<{path}?{query}>; rel="{relation}"'


def within(
    of: SQLColumnExpression[int],
    identity: SQLColumnExpression[int],
    which: Any,
    above: Any,
    up_to: Any,
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions for the rows of one list among many in a table.

    Rows are compared, and not `of = …`, which PostgreSQL would leave out of the order: it may
    then walk the primary key, through everybody's newer rows, to an old list.

    Args:
        of: The column that says which list it is; an index on it and `identity` leads to it.
        identity: The column that the list is ordered by.
        which: The value of `of`.
        above: Only rows with a larger identity.
        up_to: Only rows with this identity or a smaller one.
    """
    row = tuple_(of, identity)
    return row > tuple_(which, above), row <= tuple_(which, up_to)


class KeysetQuery:
    """A list that is read window by window.

    Make it once, with the module, like every `Prepared`.

    Args:
        query: The whole list, its id first, without an order. What differs from caller to
            caller stands in it as a `bindparam`.
        identity: The column that the list is ordered by.
        of: The column that says which list it is, such as the room of messages, if there are
            many in one table. An index on both, in this order, has to lead to it.
        which: Its value, where that has to be looked up; None: the parameter `of` of `read`.
    """

    def __init__(
        self,
        query: AnySelect,
        identity: SQLColumnExpression[int],
        of: SQLColumnExpression[int] | None = None,
        which: SQLColumnExpression[int] | None = None,
    ) -> None:
        above, up_to = bindparam("above", type_=BigInteger), bindparam("up_to", type_=BigInteger)
        order = (identity,) if of is None else (of, identity)
        if of is None:
            query = query.where(identity > above, identity <= up_to)
        else:
            which = bindparam("of", type_=BigInteger) if which is None else which
            query = query.where(*within(of, identity, which, above, up_to))
        most = bindparam("most", type_=BigInteger)
        self._oldest = Prepared(query.order_by(*order).limit(most))
        self._newest = Prepared(query.order_by(*(column.desc() for column in order)).limit(most))

    def read(self, connection: Connection, window: PageRequest, **parameters: Any) -> Page:
        """Read one window, its rows in ascending order, even where the newest are asked for.

        Args:
            connection: Where from.
            window: Which part.
            parameters: Of the query; `of` among them, if the list has one.
        """
        if window.after is not None:
            rows = self.after(connection, window.after, window.limit + 1, **parameters)
            older = self._any(connection, 0, window.after, parameters)
            return Page(rows[: window.limit], older, newer=len(rows) > window.limit)
        up_to = LARGEST_ID if window.before is None else window.before - 1
        bounds = {"above": 0, "up_to": up_to, "most": window.limit + 1}
        rows = self._newest.all(connection, parameters | bounds)
        newer = up_to < LARGEST_ID and self._any(connection, up_to, LARGEST_ID, parameters)
        return Page(rows[: window.limit][::-1], older=len(rows) > window.limit, newer=newer)

    def after(
        self, connection: Connection, item_id: int, most: int, **parameters: Any
    ) -> Sequence[AnyRow]:
        """Return the oldest rows that are newer than an id, in ascending order."""
        bounds = {"above": item_id, "up_to": LARGEST_ID, "most": most}
        return self._oldest.all(connection, parameters | bounds)

    def _any(
        self, connection: Connection, above: int, up_to: int, parameters: Mapping[str, Any]
    ) -> bool:
        bounds = {"above": above, "up_to": up_to, "most": 1}
        return self._oldest.first(connection, {**parameters, **bounds}) is not None
