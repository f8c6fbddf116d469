"""From a request to an open socket: who may open one, and how the 101 is answered.

Everything is checked before the upgrade, where HTTP can still say what is wrong (RFC 6455,
section 4.2).
"""

import base64
import binascii
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Flask, Request, current_app, g
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _
from simple_websocket import Server

from app.accounts import cookies, tokens
from app.extensions import sock
from app.http.addresses import client_network
from app.http.errors import NON_FIELD, ApiError, BadInput, TemporarilyUnavailable
from app.http.fields import whole_number
from app.http.languages import preferred
from app.http.origins import is_known_origin
from app.limits.rules import consume
from app.realtime import closing
from app.services import services

log = logging.getLogger(__name__)

VERSION = "13"
SUBPROTOCOL = "bearer"


class UpgradeRequired(ApiError):
    """Only WebSockets of version 13 are served here."""

    status = 426
    code = "upgrade_required"
    detail = _("This address is for WebSockets (version 13).")

    def __init__(self) -> None:
        super().__init__(
            {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": VERSION}
        )


class TooManySockets(TemporarilyUnavailable):
    """The worker has as many sockets as it may have, or is about to stop."""

    code = "too_many_sockets"
    detail = _("The server cannot take more connections at the moment.")


class NotServedHere(ApiError):
    """The server was started without the workers that keep sockets, as `flask run` does it."""

    status = 503
    code = "not_served_here"
    detail = _("This server was started without WebSockets. Start it with `make run`.")


class BadParameterError(Exception):
    """A parameter of the query is no number."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What of a request its socket still needs when the request is over.

    Attributes:
        language: Of sentences for its user.
        request_id: What the log calls the request.
    """

    app: Flask
    language: str
    request_id: str


@contextmanager
def begin_handshake(request: Request) -> Iterator[Handshake]:
    """Check that a request may become a socket, and keep a place for it meanwhile.

    Raises:
        UpgradeRequired: It asks for no upgrade, or for one of another version.
        BadInput: It is malformed.
        Throttled: Too many come from this network.
        TooManySockets: There is no place left.
        NotServedHere: There are no sockets in this process.
    """
    check_handshake(request)
    consume("handshakes", client_network())
    realtime = services().realtime
    if not realtime.is_started:
        raise NotServedHere
    if not realtime.reserve():
        raise TooManySockets
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    try:
        realtime.wait_turn()
        yield Handshake(app, preferred(), g.request_id)
    finally:
        realtime.release()  # it is an open socket by now, or nothing


def check_handshake(request: Request) -> None:
    """Check that a request is the opening handshake of a WebSocket.

    Raises:
        UpgradeRequired: It asks for no upgrade, or for one of another version.
        BadInput: It is malformed.
    """
    headers = request.headers
    if "websocket" not in _tokens(headers.get("Upgrade", "")):
        raise UpgradeRequired
    errors = {}
    if request.method != "GET" or request.environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        errors[NON_FIELD] = [_("A handshake is a GET request of HTTP/1.1.")]
    if "upgrade" not in _tokens(headers.get("Connection", "")):
        errors["Connection"] = [_("The header must say Upgrade.")]
    if not _is_nonce(headers.get("Sec-WebSocket-Key", "")):
        errors["Sec-WebSocket-Key"] = [_("The header must be 16 bytes in base64.")]
    if errors:
        raise BadInput(errors)
    if headers.get("Sec-WebSocket-Version") != VERSION:
        raise UpgradeRequired


def _simplify(environ: dict[str, Any]) -> None:
    # Leave only what wsproto (1.3.2) needs to answer a handshake that was checked. It reads the
    # headers once more, and raises where one of them is not as it expects: a host that is no
    # IDNA, a protocol that is no ASCII, a body.
    offered = _tokens(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
    # Compression would be done for each socket again; a frame is encoded once for all of them.
    for unused in ("SEC_WEBSOCKET_PROTOCOL", "SEC_WEBSOCKET_EXTENSIONS", "TRANSFER_ENCODING"):
        environ.pop(f"HTTP_{unused}", None)
    environ |= {
        "HTTP_HOST": "localhost",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
    }
    if SUBPROTOCOL in offered:
        environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] = SUBPROTOCOL


def _tokens(header: str) -> list[str]:
    return [token.strip() for token in header.lower().split(",")]


def _is_nonce(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def number_of(request: Request, name: str) -> int | None:
    """Return a parameter of the query; None if it is not there.

    Raises:
        BadParameterError: It is no number.
    """
    text = request.args.get(name)
    number = None if text is None else whole_number(text)
    if text is not None and number is None:
        raise BadParameterError(name)
    return number


def credentials_of(request: Request) -> str | None:
    """Return the access token of a handshake, from the first place that has one."""
    token = tokens.bearer_token(request.headers)
    if token is not None:
        return token
    if "token" in request.args:
        return request.args["token"]
    offered = [
        each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    ]
    if len(offered) == 2 and offered[0] == SUBPROTOCOL:
        return offered[1]
    # A browser sends the cookie whatever page opens the socket; a page of another site must
    # not act for its reader.
    if is_known_origin(request, services().config.CORS_ORIGINS):
        return cookies.cookie_of(request, cookies.CHAT)
    return None


# Answering


class _NoThread:
    """Takes the place of simple_websocket's reader thread: `realtime` reads the socket."""

    name = ""

    def __init__(self, target: object) -> None:
        pass

    def start(self) -> None:
        pass


SERVER_OPTIONS = {"subprotocols": [SUBPROTOCOL], "thread_class": _NoThread}


class _Answer:
    """Keeps the view that flask-sock makes, in the place of a blueprint.

    flask-sock answers the 101 before it calls our function. Our routes check and look up
    everything before that, and then call this view.
    """

    view: Callable[[], ResponseReturnValue]

    def route(self, _path: str, **_options: Any) -> Callable[..., None]:
        return partial(setattr, self, "view")


_answer = _Answer()


@sock.route("", bp=_answer)
def _hand_over(ws: Server) -> None:
    ws.connected = False  # so that flask-sock sends no close frame when this returns
    try:
        g.take_over(os.dup(ws.sock.fileno()))
    except Exception:
        # The client has its 101: a response of HTTP would be read as frames.
        log.exception("defect while a socket was handed over")
        with suppress(OSError):
            ws.sock.sendall(closing.DEFECT.frame)
        ws.sock.close()


def upgrade(request: Request, take_over: Callable[[int], None]) -> ResponseReturnValue:
    """Answer a handshake with 101 and hand its socket over.

    Args:
        request: The handshake, checked.
        take_over: Is called with a descriptor that it owns.
    """
    _simplify(request.environ)
    g.take_over = take_over
    return _answer.view()
