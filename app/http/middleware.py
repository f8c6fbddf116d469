"""Added to every response: a request id, security headers, a line in the access log."""

import logging
import re
import secrets
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from flask import Flask, Response, g, has_request_context, request
from werkzeug.exceptions import InternalServerError, PreconditionFailed, default_exceptions

from app import threads
from app.http.addresses import client_network
from app.http.errors import PROBLEM, as_api_error

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
# Headers that scripts of other origins may read.
EXPOSED = [
    "ETag",
    "Link",
    "Retry-After",
    "X-Event-ID",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Search-As",
    REQUEST_ID,
]

_UNKNOWN_PATH_CHARS = 20  # that are logged of an unknown path: fewer than any token has
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Load nothing, and no frames. A browser console on any response may still call this API.
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def init_app(app: Flask) -> None:
    """Add these to the responses of an application."""
    app.before_request(_begin)
    app.after_request(_finish)


def refused_by_server(app: Flask, status: int) -> bytes:
    """Return the whole response to a request that the HTTP server refuses by itself.

    Args:
        app: The application, for its sentences.
        status: The status: 400 for a malformed request, 431 for too large headers.
    """
    with app.app_context():
        refused = default_exceptions.get(status, InternalServerError)()
        response = as_api_error(refused).response()
    headers = response.headers
    headers.update(_HEADERS)
    headers[REQUEST_ID] = secrets.token_hex(8)
    headers["Connection"] = "close"
    head = f"HTTP/1.1 {response.status}\r\n{headers}"
    return head.encode("latin-1") + response.get_data()


def known() -> Mapping[str, Any]:
    """Return the fields of every log line that belongs to a request."""
    return {"request_id": g.get("request_id")} if has_request_context() else {}


def status_of(response: Response) -> int:
    """Return the status that the client saw; flask-sock reports 200 for an upgrade."""
    if request.url_rule and request.url_rule.websocket and response.status_code == 200:
        return 101
    return response.status_code


def elapsed() -> float:
    """Return the seconds that this request has taken so far."""
    return perf_counter() - float(g.began)


def _begin() -> None:
    g.began = perf_counter()
    threads.acting_for.set(threads.Owner(client_network()))
    given = request.headers.get(REQUEST_ID, "")
    g.request_id = given if _PLAIN.match(given) else secrets.token_hex(8)


def _finish(response: Response) -> Response:
    if response.status_code == 412 and response.mimetype != PROBLEM:
        response = _unmet(response)
    response.headers[REQUEST_ID] = g.request_id
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # The mimetype is checked first: computing the length of a streamed body would read all of it.
    if response.mimetype == "text/html" and response.calculate_content_length() == 0:
        del response.headers["Content-Type"]  # Flask's default for an empty body
    _log(response)
    return response


def _unmet(response: Response) -> Response:
    # If a file's `If-Match` fails, Werkzeug responds with an empty file.
    response.close()
    return as_api_error(PreconditionFailed()).response()


def _log(response: Response) -> None:
    status = status_of(response)
    path = _shown_path()
    log.info(
        "%s %s %d",
        request.method,
        path,
        status,
        extra={
            "user_id": g.get("user_id"),
            "method": request.method,
            "path": path,
            "route": request.url_rule and request.url_rule.rule,
            "status": status,
            "milliseconds": round(elapsed() * 1000, 1),
        },
    )


def _shown_path() -> str:
    # Never log the query or the values of variable parts, which may be tokens or names. Of an
    # unknown path only the beginning is logged.
    if request.url_rule:
        return request.url_rule.rule
    first, _, rest = request.path.lstrip("/")[:_UNKNOWN_PATH_CHARS].partition("/")
    return f"/{first}/…" if rest else f"/{first}"
