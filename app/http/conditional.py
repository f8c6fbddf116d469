"""Conditional GET (RFC 9110, section 13): who has an answer already is told so in place of it.

The validator is made of the answer's bytes, so it is right whatever changes them, and a
304 spares the way, not the reading. Answers to a token keep their `no-store`: no cache may
hold them, but a client that shows a list holds it anyway, and may ask whether it is the same.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Response, request

from app.http.annotations import documents_header, documents_response, notes_of

P = ParamSpec("P")
View = TypeVar("View", bound=Callable[..., Any])

_NOT_MODIFIED = "It is what the client has, by its `If-None-Match`."
_IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "`ETag`s of responses that the client still has.",
    "schema": {"type": "string"},
}


def has_validator(view: View) -> View:
    """Note that a view does so by itself, as those that serve files do."""
    notes_of(view).parameters.append(_IF_NONE_MATCH)
    documents_header("ETag", "Names these very bytes, for `If-None-Match`.")(view)
    return documents_response(304, _NOT_MODIFIED, {})(view)


def conditional(view: Callable[P, Response]) -> Callable[P, Response]:
    """Give a view's answer an `ETag`, and answer 304 to who has it."""

    @wraps(view)
    def with_validator(*args: P.args, **kwargs: P.kwargs) -> Response:
        response = view(*args, **kwargs)
        response.add_etag()
        if "If-None-Match" in request.headers:
            response.make_conditional(request)
        return response

    return has_validator(with_validator)
