"""`/messenger/ws/ws/chat/<room_name>/`: WebSocket in, WebSocket out.

The request ends with the upgrade. What is asked of the database is asked before the
101 goes out, so that the cursor stands before the client can see the socket open; after
it the descriptor goes to `realtime`, and the request, its greenlet and its place in
gunicorn are free again.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Never

from flask import Blueprint, Flask, current_app, g, request
from flask_babel import force_locale
from simple_websocket import Server

from app.accounts import tokens
from app.accounts.tokens import TokenNotValid
from app.extensions import sock
from app.http.annotations import undocumented
from app.http.body import decode_json
from app.http.errors import ApiError
from app.http.fields import whole_number
from app.http.languages import preferred
from app.http.validation import RetryIn
from app.limits.rules import Limits, RateLimitStatus, Throttled, consume, network
from app.messenger.handshake import (
    SUBPROTOCOL,
    TooManySockets,
    UpgradeRequired,
    check_handshake,
    credentials_of,
    tidy,
)
from app.messenger.members import Membership, RoomNotFound, require_member
from app.messenger.schemas import ChatIn
from app.messenger.socket_registry import SocketRegistry
from app.messenger.store import Draft, Stored
from app.messenger.writer import MessageWriter, Outcome
from app.realtime import Close, Connection, Realtime, closing
from app.realtime.loop import monotonic

log = logging.getLogger(__name__)

bp = Blueprint("chat", __name__)

PATH = "/messenger/ws/ws/chat/<room_name>/"
UNSTORED_MAX = 64  # texts of one socket that may wait to be stored before it is not read any more
UNSTORED_FEW = 16  # … and so few that it is read again


class _NoThread:
    """In the place of simple_websocket's reader thread: the socket is read by `realtime`."""

    name = ""

    def __init__(self, target: object) -> None:
        pass

    def start(self) -> None:
        pass


SERVER_OPTIONS = {"subprotocols": [SUBPROTOCOL], "thread_class": _NoThread}


@dataclass(frozen=True, slots=True)
class Admission:
    """What was found out about a handshake: a seat and where to begin, or how to close.

    A browser can read no HTTP answer to a WebSocket, only a close code, so a refusal that
    its user shall see waits until the socket is open.
    """

    member: Membership | None
    session_id: int = 0
    after: int = 0
    refusal: Close | None = None


@bp.before_request
def admit() -> None:
    """Decide about a handshake before it is answered."""
    check_handshake(request)
    consume("handshakes", network())
    if not _realtime().reserve():
        raise TooManySockets
    g.has_place = True
    g.admission = _admission(request.view_args["room_name"] if request.view_args else "")
    tidy(request.environ)


@bp.teardown_request
def give_place_back(_error: BaseException | None) -> None:
    """Let go of the place that was kept for a handshake: it is a socket by now, or nothing."""
    if g.pop("has_place", False):
        _realtime().release()


def _admission(room_name: str) -> Admission:
    token = credentials_of(request, current_app.config["CORS_ORIGINS"])
    try:
        caller = tokens.caller_of(token or "")
        g.user_id = caller.id
        after = request.args.get("after")
        cursor = None if after is None else whole_number(after)
        if after is not None and cursor is None:
            return Admission(None, refusal=closing.BAD_CURSOR)
        member = require_member(room_name, caller.id, caller.username)
    except TokenNotValid:
        return Admission(None, refusal=closing.UNAUTHENTICATED)
    except RoomNotFound:
        return Admission(None, refusal=closing.NO_SUCH_ROOM)
    after_id = member.latest if cursor is None else min(cursor, member.latest)
    after_id = max(after_id, member.visible_from)
    return Admission(member, caller.session_id, after_id)


@bp.get(PATH)
@undocumented("a WebSocket is no operation of OpenAPI")
def refuse_http(room_name: str) -> Never:  # noqa: ARG001 - it is in the path
    """Be there for requests that ask for no upgrade; `admit` has refused them already."""
    raise UpgradeRequired


@sock.route(PATH, bp=bp)
def chat(ws: Server, room_name: str) -> None:  # noqa: ARG001 - `admit` has seen the name
    """Hand an upgraded socket over to `realtime`."""
    ws.connected = False  # so that flask-sock says no goodbye when this returns
    try:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        ChatSession(app, g.admission).begin(os.dup(ws.sock.fileno()))
    except Exception:
        # The client has its 101: an answer of HTTP would be read as frames.
        log.exception("defect while a socket was handed over")
        with suppress(OSError):
            ws.sock.sendall(closing.DEFECT.frame)
        ws.sock.close()


class ChatSession:
    """What one open socket says and is told: texts to the writer, outcomes to the socket.

    Lives in the loop's thread; nothing here waits.
    """

    __slots__ = (
        "_admission",
        "_app",
        "_connection",
        "_is_flooded",
        "_language",
        "_request_id",
        "_seat",
        "_since",
        "_unstored",
    )

    def __init__(self, app: Flask, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        self._seat: Membership | None = None  # once it is taken, until the socket is closed
        self._language = preferred()
        self._request_id = g.request_id
        self._since = monotonic()
        self._unstored = 0
        self._is_flooded = False
        self._connection: Connection

    def begin(self, descriptor: int) -> None:
        """Take the socket over."""
        self._connection = _realtime(self._app).open(descriptor, self)
        try:
            self._enter()
        except Exception:
            # Open it would be pinged for ever and never hear a message.
            log.exception("defect while a socket was handed over")
            self._connection.close(closing.DEFECT)

    def _enter(self) -> None:
        admission = self._admission
        member = admission.member
        if admission.refusal is not None or member is None:
            self._connection.close(admission.refusal or closing.DEFECT)
            return
        socket_registry = _socket_registry(self._app)
        if not _limits(self._app).may_open_socket(socket_registry.sockets_of(member.user_id)):
            self._connection.close(closing.TOO_MANY)
            return
        socket_registry.enter(member.user_id, admission.session_id, self._connection)
        self._seat = member
        log.info("socket open", extra={"user_id": member.user_id, "room_id": member.room_id})
        _realtime(self._app).join(self._connection, member.room_id, member.latest, admission.after)

    # What `realtime` tells

    def on_text(self, text: str) -> None:
        """Hand a text to the writer, or say what is wrong with it."""
        if self._seat is None or self._is_flooded or _realtime(self._app).is_stopping:
            return
        member = self._seat
        if wait := _limits(self._app).message_wait(member.user_id):
            self._throttle(member.user_id, text, wait)
            return
        data: Any = None
        try:
            data = decode_json(text)
            chat_in = ChatIn.parse(data)
        except ApiError as error:
            self._tell(error, _client_id_of(data))
            return
        draft = Draft.of(member, chat_in.message, chat_in.client_id)
        self._unstored += 1
        if self._unstored >= UNSTORED_MAX:
            self._connection.hold()
        writer: MessageWriter = self._app.extensions["writer"]
        writer.submit(draft, lambda outcome: self._stored(draft.client_id, outcome))

    def closed(self, code: int) -> None:
        """Forget the socket."""
        member = self._seat
        _realtime(self._app).leave(self._connection, member.room_id if member else None)
        if member is not None:
            _socket_registry(self._app).leave(
                member.user_id, self._admission.session_id, self._connection
            )
        log.info(
            "socket closed",
            extra={
                "request_id": self._request_id,
                "user_id": member.user_id if member else None,
                "room_id": member.room_id if member else None,
                "code": code,
                "seconds": round(monotonic() - self._since, 3),
            },
        )

    # What the writer tells

    def _stored(self, client_id: str | None, outcome: Outcome) -> None:
        self._unstored -= 1
        if self._unstored <= UNSTORED_FEW and not self._is_flooded:
            self._connection.resume()
        if isinstance(outcome, Stored):
            if outcome.is_repeat:
                _realtime(self._app).repeat(
                    self._connection, outcome.room_id, outcome.id, outcome.payload
                )
        else:
            self._tell(outcome, client_id)
        self._part_with_flooder()

    def _throttle(self, user_id: int, text: str, wait: float) -> None:
        if _limits(self._app).is_flood(user_id):
            self._is_flooded = True
            self._connection.hold()
            self._part_with_flooder()
            return
        data: Any = None
        with suppress(ApiError):
            data = decode_json(text)
        rate_status = _limits(self._app).message_status(user_id)
        self._tell(Throttled(RateLimitStatus(rate_status.amount, 0, wait)), _client_id_of(data))

    def _part_with_flooder(self) -> None:
        # What was taken in is told before, or its sender would not know that it is stored.
        if self._is_flooded and not self._unstored:
            self._connection.close(closing.TOO_MANY)

    def _tell(self, error: ApiError, client_id: str | None) -> None:
        # The request is long gone; sentences need to know the language that it asked for.
        with self._app.app_context(), force_locale(self._language):
            self._connection.send_text(error.frame(client_id))


def _client_id_of(data: Any) -> str | None:
    # A refused frame is told which one it was, if it says so itself.
    try:
        return RetryIn.parse({"Idempotency-Key": data["client_id"]}).key
    except (ApiError, LookupError, TypeError):
        return None


def _socket_registry(app: Flask) -> SocketRegistry:
    socket_registry: SocketRegistry = app.extensions["socket_registry"]
    return socket_registry


def _limits(app: Flask) -> Limits:
    limits: Limits = app.extensions["limits"]
    return limits


def _realtime(app: Flask | Any = current_app) -> Realtime:
    realtime: Realtime = app.extensions["realtime"]
    return realtime
