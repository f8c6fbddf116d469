"""What the sockets of rooms and the streams have in common: one client of one person.

A session belongs to one open socket. It gets what the client sends, says how much of it is too
much, and knows what to clean up. Lives in the loop's thread; nothing here waits.
"""

import logging
from contextlib import suppress
from typing import Any

from flask import Flask
from flask_babel import force_locale

from app.accounts.tokens import Caller
from app.http.body import decode_json
from app.http.errors import ApiError
from app.http.validation import RetryIn
from app.limits.rules import Limits
from app.limits.status import RateLimitStatus, Throttled
from app.messenger.handshake import Handshake
from app.messenger.socket_registry import SocketRegistry
from app.realtime import Close, Connection, Realtime, closing
from app.realtime.loop import monotonic, spawn
from app.services import services

log = logging.getLogger(__name__)

UNSTORED_MAX = 64  # texts of one socket that may wait to be stored before we stop reading it
UNSTORED_FEW = 16  # … and so few that we read on


class Session:
    """One open socket and the person it belongs to.

    Args:
        handshake: What is left of the request.
        caller: Who opened it; None if nobody may, as `refusal` says.
        refusal: Why the socket is closed at once. A browser can read no HTTP answer to a
            WebSocket, only a close code, so a refusal that its user has to see waits until the
            socket is open.
    """

    __slots__ = (
        "_app",
        "_caller",
        "_connection",
        "_handshake",
        "_is_flooded",
        "_is_registered",
        "_refusal",
        "_since",
        "_unstored",
    )

    def __init__(
        self, handshake: Handshake, caller: Caller | None, refusal: Close | None = None
    ) -> None:
        self._app = handshake.app
        self._handshake = handshake
        self._caller = caller
        self._refusal = refusal
        self._since = monotonic()
        self._is_registered = False
        self._is_flooded = False
        self._unstored = 0
        self._connection: Connection

    @property
    def user_id(self) -> int:
        """Whose socket it is."""
        assert self._caller is not None  # noqa: S101 - nothing is asked of refused sockets
        return self._caller.id

    @property
    def room_id(self) -> int | None:
        """The room that the socket is for; None of a stream, which is for all."""
        return None

    # What a kind of session does

    def join(self) -> None:
        """Begin to deliver."""
        raise NotImplementedError

    def leave(self) -> None:
        """End the delivery."""
        raise NotImplementedError

    def take(self, text: str) -> None:
        """Do what the client asks for."""
        raise NotImplementedError

    def send_error(self, error: ApiError, data: Any = None) -> None:
        """Tell the client what is wrong with what it sent.

        Args:
            error: The refusal.
            data: The frame, as far as it could be decoded.
        """
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """Return what the log says of this socket."""
        return {"user_id": self._caller.id if self._caller else None}

    # Beginning and end

    def begin(self, descriptor: int) -> None:
        """Take over the socket of a handshake that was answered."""
        self._connection = realtime_of(self._app).open(descriptor, self)
        try:
            self._enter()
        except Exception:
            # Open it would be pinged for ever and never get a message.
            log.exception("defect while a socket was taken over")
            self._connection.close(closing.DEFECT)

    def _enter(self) -> None:
        if self._caller is None or self._refusal is not None:
            self._refuse(self._refusal or closing.DEFECT)
        elif limits_of(self._app).may_open_socket(self._registry.sockets_of(self.user_id)):
            self._admit()
        else:
            self._connection.pause_reading()
            spawn(self._take_place_of_dead_socket)

    def _take_place_of_dead_socket(self) -> None:
        # A client that lost its network comes back before we know that its old sockets are dead.
        if not self._registry.drop_dead_socket(self.user_id):
            self._refuse(closing.TOO_MANY)
        elif self._connection.is_open:
            self._connection.resume_reading()
            self._admit()

    def _refuse(self, refusal: Close) -> None:
        realtime_of(self._app).refuse(self._connection, refusal)

    def _admit(self) -> None:
        assert self._caller is not None  # noqa: S101 - or it would have been refused
        self._registry.add(self._caller.id, self._caller.session_id, self._connection)
        self._is_registered = True
        log.info("socket open", extra=self.about())
        self.join()

    def closed(self, code: int) -> None:
        """Forget the socket."""
        realtime_of(self._app).forget(self._connection)
        if self._is_registered and self._caller is not None:
            self._is_registered = False
            self._registry.remove(self._caller.id, self._caller.session_id, self._connection)
            self.leave()
        log.info(
            "socket closed",
            extra={
                **self.about(),
                "request_id": self._handshake.request_id,
                "code": code,
                "seconds": round(monotonic() - self._since, 3),
            },
        )

    @property
    def _registry(self) -> SocketRegistry:
        return services(self._app).socket_registry

    # What the client sends

    def on_text(self, text: str) -> None:
        """Do what the client asks for, unless it asks too much."""
        is_taken = self._is_registered and not self._is_flooded
        if is_taken and not realtime_of(self._app).is_stopping:
            self.take(text)

    def note_unstored(self) -> None:
        """Count a text that waits to be stored; a client with too many is not read."""
        self._unstored += 1
        if self._unstored >= UNSTORED_MAX:
            self._connection.pause_reading()

    def note_stored(self) -> None:
        """Count a text that is stored, or refused, and answered."""
        self._unstored -= 1
        if self._unstored <= UNSTORED_FEW and not self._is_flooded:
            self._connection.resume_reading()
        self._close_flooder()

    def is_throttled(self, text: str) -> bool:
        """Count a message; tell whether it was one too many, and if so, tell the client."""
        limits = limits_of(self._app)
        wait = limits.message_wait(self.user_id, text)
        if not wait:
            return False
        if limits.is_flood(self.user_id):
            self._is_flooded = True
            self._connection.pause_reading()
            self._close_flooder()
            return True
        data: Any = None
        with suppress(ApiError):
            data = decode_json(text)
        amount = limits.message_status(self.user_id).amount
        self.send_error(Throttled(RateLimitStatus(amount, 0, wait)), data)
        return True

    def _close_flooder(self) -> None:
        # Its texts that wait are answered first: it has to know that they are stored.
        if self._is_flooded and not self._unstored:
            self._connection.close(closing.TOO_MANY)

    def send_localized(self, make: Any) -> None:
        """Send a frame with a sentence in the client's language; the request is long gone.

        Args:
            make: Returns the frame as JSON.
        """
        with self._app.app_context(), force_locale(self._handshake.language):
            self._connection.send_text(make())


def client_id_of(data: Any) -> str | None:
    """Return the `client_id` of a refused frame, if it has a valid one."""
    try:
        return RetryIn.parse({"Idempotency-Key": data["client_id"]}).key
    except (ApiError, LookupError, TypeError):
        return None


def limits_of(app: Flask) -> Limits:
    """Return the limits of an application."""
    return services(app).limits


def realtime_of(app: Flask) -> Realtime:
    """Return the sockets of an application."""
    return services(app).realtime
