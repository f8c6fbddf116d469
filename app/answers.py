"""What every answer has, whatever its route: a request id, guarding headers, a line in the log."""

import logging
import re
import secrets
from time import perf_counter

from flask import Flask, Response, g, request
from flask_jwt_extended import get_jwt

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
EXPOSED = ["Link", "Retry-After", REQUEST_ID]  # what scripts of other origins may read

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Nothing is loaded or framed; a console opened on any answer may still talk to this API.
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def init_app(app: Flask) -> None:
    """Add all of it to an application."""
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    g.began = perf_counter()
    given = request.headers.get(REQUEST_ID, "")
    g.request_id = given if _PLAIN.match(given) else secrets.token_hex(8)


def _finish(response: Response) -> Response:
    response.headers[REQUEST_ID] = g.request_id
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if not (request.url_rule and request.url_rule.websocket and response.status_code == 200):
        _log(response)  # a socket has lines of its own, when it opens and when it closes
    return response


def _log(response: Response) -> None:
    log.info(
        "%s %s %d",
        request.method,
        request.path,  # without its query, which may hold a token
        response.status_code,
        extra={
            "user_id": _user_id(),
            "milliseconds": round((perf_counter() - g.began) * 1000, 1),
        },
    )


def _user_id() -> int | None:
    try:
        return int(get_jwt()["user_id"])
    except RuntimeError:  # no token was looked at
        return None
