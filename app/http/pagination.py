"""Lists: a JSON array, oldest first, with a `Link` to the pages before and after it (RFC 8288)."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias
from urllib.parse import quote, urlencode

from flask import Request, Response, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from app.database.keyset import KeysetQuery, Page, PageRequest
from app.database.prepared import AnyRow
from app.database.transactions import reading
from app.http.annotations import documents_header, notes_of
from app.http.errors import BadInput
from app.http.fields import whole_number
from app.http.json import json_response

USERS_MAX = ROOMS_MAX = ITEMS_MAX = 1000
DEFAULT_ITEMS = 100

P = ParamSpec("P")

Item: TypeAlias = Callable[[AnyRow], Any]

_MINIMUM = {"limit": 1, "before": 0, "after": 0}


def paged(
    default: int, maximum: int
) -> Callable[[Callable[Concatenate[PageRequest, P], Response]], Callable[P, Response]]:
    """Pass the requested part of the list (`PageRequest`) to a view, as its first argument.

    Args:
        default: The limit if the request has none.
        maximum: The maximum of the limit; a larger one is cut.
    """
    sentences = {
        "limit": f"The maximum number of items; default {default}, at most {maximum}.",
        "before": "Only items with a smaller id, the newest of them. Not together with `after`.",
        "after": "Only items with a larger id, the oldest of them.",
    }

    def decorate(view: Callable[Concatenate[PageRequest, P], Response]) -> Callable[P, Response]:
        @wraps(view)
        def with_page_request(*args: P.args, **kwargs: P.kwargs) -> Response:
            return view(page_request(request, default, maximum), *args, **kwargs)

        for name, sentence in sentences.items():
            notes_of(with_page_request).parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "description": sentence,
                    "schema": {"type": "integer", "minimum": _MINIMUM[name]},
                }
            )
        notes_of(with_page_request).errors.append(BadInput({"limit": [_too_small(1)]}))
        return documents_header(
            "Link", 'URLs of more items: `rel="prev"` older, `rel="next"` newer ones.'
        )(with_page_request)

    return decorate


def _fields(row: AnyRow) -> Any:
    return row._asdict()


def page_request(request: Request, default: int, maximum: int) -> PageRequest:
    """Read `?limit=`, `?before=` and `?after=`.

    Args:
        request: The request.
        default: The limit if the request has none.
        maximum: The maximum of the limit; a larger one is cut.

    Raises:
        BadInput: One of them is not a number or too small, or both cursors are given.
    """
    if not request.query_string:
        return PageRequest(default)
    errors: dict[str, list[Any]] = {}
    numbers: dict[str, int] = {}
    for name, minimum in _MINIMUM.items():
        text = request.args.get(name)
        if text is None:
            continue
        number = whole_number(text)
        if number is None or number < minimum:
            errors[name] = [_too_small(minimum)]
        else:
            numbers[name] = number
    if "before" in numbers and "after" in numbers:
        both = _("Either before or after, not both.")
        errors |= {"before": [both], "after": [both]}
    if errors:
        raise BadInput(errors)
    return PageRequest(min(numbers.pop("limit", default), maximum), **numbers)


def list_response(
    listing: KeysetQuery, asked: PageRequest, item: Item = _fields, **parameters: Any
) -> Response:
    """Read a page of a list and return it, with links to the pages before and after it.

    Args:
        listing: The list.
        asked: The part of it.
        item: Makes the JSON of a row; its columns as they are if left out.
        parameters: Those of the list's query.
    """
    with reading() as connection:
        page = listing.read(connection, asked, **parameters)
    return page_response(page, asked, item)


def page_response(page: Page, asked: PageRequest, item: Item = _fields) -> Response:
    """Return a page that was read already, as `list_response` does."""
    return json_response([item(row) for row in page.rows], headers=link_header(page, asked))


def link_header(page: Page, asked: PageRequest) -> dict[str, str]:
    """Return the `Link` header; no header if the page is the whole list."""
    links = []
    if page.older:
        cursor = page.rows[0][0] if page.rows else (asked.after or 0) + 1
        links.append(_link("prev", asked, before=cursor))
    if page.newer:
        cursor = page.rows[-1][0] if page.rows else max((asked.before or 0) - 1, 0)
        links.append(_link("next", asked, after=cursor))
    return {"Link": ", ".join(links)} if links else {}


def _too_small(minimum: int) -> LazyString:
    return _("A whole number from %(minimum)d on is expected.", minimum=minimum)


def _link(relation: str, asked: PageRequest, **cursor: int) -> str:
    given = request.args.items() if request.query_string else ()
    kept = {key: value for key, value in given if key not in ("before", "after")}
    query = urlencode(kept | {"limit": asked.limit} | cursor)
    path = quote(request.path, safe="/@+~")  # a header must be ASCII
    return f'<{path}?{query}>; rel="{relation}"'
