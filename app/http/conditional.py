"""Conditional GET (RFC 9110, section 13): a client that already has this response gets 304.

The validator is a digest of the response body, so it is always right; a 304 saves the transfer, not
the query. Responses keep their `no-store`: caches must not store them, but a client that shows a
list has it anyway and may ask whether it has changed.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Response, request

from app.http.annotations import documents_response

P = ParamSpec("P")
View = TypeVar("View", bound=Callable[..., Any])

_NOT_MODIFIED = "The client has this response already, by its `If-None-Match`."


def has_validator(view: View) -> View:
    """Note that a view does this by itself, as views that serve files do."""
    return documents_response(304, _NOT_MODIFIED, {})(view)


def conditional(view: Callable[P, Response]) -> Callable[P, Response]:
    """Add an `ETag` to a view's response; respond 304 to a client that has it already."""

    @wraps(view)
    def with_validator(*args: P.args, **kwargs: P.kwargs) -> Response:
        response = view(*args, **kwargs)
        response.add_etag()
        if "If-None-Match" in request.headers:
            response.make_conditional(request)
        return response

    return has_validator(with_validator)
