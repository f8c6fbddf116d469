"""Sends one notification to the push service of one browser (RFC 8030), encrypted (RFC 8291)."""

import logging
import socket
import ssl
import threading
from base64 import urlsafe_b64decode
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec

from app.notifications.endpoints import Endpoint, EndpointRefused
from app.notifications.keys import ServerKey

log = logging.getLogger(__name__)

SEND_SECONDS = 5.0  # that a push service may take for all of it
BODY_BYTES_MAX = 3993  # of a text, which with what encryption adds is 4,096 (RFC 8291, section 4)
KEPT_SECONDS = 86_400  # how long a push service keeps a notification for a device that is off
_RETRY_SECONDS_MAX = 300.0


class Outcome(Enum):
    """What became of a notification."""

    SENT = auto()
    GONE = auto()  # the browser does not want any more: its subscription is to be deleted
    LATER = auto()  # the push service is busy or away
    REFUSED = auto()  # the endpoint leads where nothing may be sent
    FAILED = auto()  # the push service does not take it, and will not the next time


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a notification, and when to try again.

    Attributes:
        outcome: What became of it.
        retry_seconds: What the push service asks to wait; None if it says nothing.
    """

    outcome: Outcome
    retry_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Browser:
    """Where a subscription leads, and for whom is encrypted.

    Attributes:
        endpoint: The URL that the browser's push service gave out.
        p256dh: Its public key in base64url.
        auth: Its secret in base64url.
    """

    endpoint: str
    p256dh: str
    auth: str


def send(
    browser: Browser,
    body: bytes,
    key: ServerKey,
    *,
    topic: str,
    is_urgent: bool,
    allow_private: bool,
) -> Result:
    """Send a notification. Wait `SEND_SECONDS` at most, read no more of the answer than its head.

    Args:
        browser: To which browser.
        body: At most `BODY_BYTES_MAX`.
        key: This server's.
        topic: A later one with the same topic replaces this one while the device is off.
        is_urgent: Whether a phone that saves its battery shows it at once.
        allow_private: Whether inner addresses are allowed.
    """
    try:
        endpoint = Endpoint.parse(browser.endpoint, allow_private=allow_private)
        address = endpoint.resolve(allow_private=allow_private)
    except EndpointRefused as error:
        log.warning("push: an endpoint was refused: %s", error)
        return Result(Outcome.REFUSED)
    except OSError:
        return Result(Outcome.LATER)
    headers = {
        "Authorization": key.authorization(endpoint.origin),
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(KEPT_SECONDS),
        "Topic": topic,
        "Urgency": "high" if is_urgent else "normal",
    }
    try:
        return _post(endpoint, address, _encrypted(body, browser), headers)
    except (OSError, HTTPException):
        return Result(Outcome.LATER)


def decoded(text: str) -> bytes:
    """Return what base64url stands for, with padding or without it.

    Raises:
        ValueError: It is not base64url.
    """
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))


def _encrypted(body: bytes, browser: Browser) -> bytes:
    encrypted: bytes = http_ece.encrypt(
        body,
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=decoded(browser.p256dh),
        auth_secret=decoded(browser.auth),
        version="aes128gcm",
    )
    return encrypted


def _post(endpoint: Endpoint, address: str, body: bytes, headers: dict[str, str]) -> Result:
    connection = HTTPConnection(endpoint.host, endpoint.port)
    sock = socket.create_connection((address, endpoint.port), timeout=SEND_SECONDS)
    if endpoint.is_https:
        sock = _tls().wrap_socket(
            sock, server_hostname=endpoint.host, do_handshake_on_connect=False
        )
    # The time-out of a socket is one for each read, and an answer may come byte by byte.
    end = threading.Timer(SEND_SECONDS, _hang_up, [sock])
    end.start()
    try:
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        connection.sock = sock  # so that it does not look the name up once more
        connection.request("POST", endpoint.target, body, headers)
        return _result(connection.getresponse())
    finally:
        end.cancel()
        connection.close()
        sock.close()


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # slow, so it is made once


def _result(response: HTTPResponse) -> Result:
    status = response.status
    if 200 <= status < 300:
        return Result(Outcome.SENT)
    # RFC 8030, section 7.3 has 404; services say 410 as well, and 403 to another key than the one
    # that the subscription was made for.
    if status in (403, 404, 410):
        return Result(Outcome.GONE)
    if status == 429 or status >= 500:
        return Result(Outcome.LATER, _seconds(response.getheader("Retry-After")))
    log.warning("push: a push service answered %s", status)
    return Result(Outcome.FAILED)


def _seconds(text: str | None) -> float | None:
    if text is None or not (text.isascii() and text.isdigit()):
        return None  # the other form of it is a date, which no push service sends
    return min(float(text[:6]), _RETRY_SECONDS_MAX)
