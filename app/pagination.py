"""Lists: a bare JSON array, oldest first, with a `Link` to what lies on either side (RFC 8288)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias
from urllib.parse import quote, urlencode

from flask import Request, Response, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, Select, SQLColumnExpression, literal

from app.errors import BadInput
from app.openapi import carries, notes_of
from app.validation import whole_number

MOST_USERS = MOST_ROOMS = MOST_ITEMS = 1000
DEFAULT_ITEMS = 100

AnySelect: TypeAlias = Select[*tuple[Any, ...]]
P = ParamSpec("P")

_LEAST = {"limit": 1, "before": 0, "after": 0}


@dataclass(frozen=True, slots=True)
class Window:
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
) -> Callable[[Callable[Concatenate[Window, P], Response]], Callable[P, Response]]:
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

    def decorate(view: Callable[Concatenate[Window, P], Response]) -> Callable[P, Response]:
        @wraps(view)
        def with_window(*args: P.args, **kwargs: P.kwargs) -> Response:
            return view(Window.of(request, default, most), *args, **kwargs)

        for name, sentence in sentences.items():
            notes_of(with_window).parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "description": sentence,
                    "schema": {"type": "integer", "minimum": _LEAST[name]},
                }
            )
        notes_of(with_window).errors.append(BadInput({"limit": [_too_small(1)]}))
        return carries("Link", 'Where it goes on: `rel="prev"` older, `rel="next"` newer items.')(
            with_window
        )

    return decorate


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list, oldest first, and whether there are more on either side."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    older: bool
    newer: bool

    def link(self, window: Window) -> dict[str, str]:
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


def _link(relation: str, window: Window, **cursor: int) -> str:
    kept = {key: value for key, value in request.args.items() if key not in ("before", "after")}
    query = urlencode(kept | {"limit": window.limit} | cursor)
    path = quote(request.path, safe="/@+~")  # a header has no room for other letters
    return f'<{path}?{query}>; rel="{relation}"'


def read_page(
    connection: Connection, query: AnySelect, identity: SQLColumnExpression[int], window: Window
) -> Page:
    """Read one window of a list.

    Args:
        connection: Where from.
        query: The whole list, its id first, without an order.
        identity: The column that the list is ordered by; an index has to lead to it.
        window: Which part.

    Returns:
        The rows in ascending order, even where the newest were asked for.
    """
    if window.after is not None:
        rows = connection.execute(
            query.where(identity > window.after).order_by(identity).limit(window.limit + 1)
        ).all()
        older = _any(connection, query.where(identity <= window.after))
        return Page(rows[: window.limit], older, newer=len(rows) > window.limit)
    newest_first = query.order_by(identity.desc()).limit(window.limit + 1)
    newer = False
    if window.before is not None:
        newest_first = newest_first.where(identity < window.before)
        newer = _any(connection, query.where(identity >= window.before))
    rows = connection.execute(newest_first).all()
    return Page(rows[: window.limit][::-1], older=len(rows) > window.limit, newer=newer)


def _any(connection: Connection, query: AnySelect) -> bool:
    found = query.with_only_columns(literal(1), maintain_column_froms=True).limit(1)
    return connection.execute(found).first() is not None
