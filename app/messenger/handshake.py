"""What a request has to be to become a WebSocket, and who may open one from a browser.

Checked before the upgrade, where HTTP can still say what is wrong (RFC 6455, section 4.2).
"""

import base64
import binascii
from collections.abc import Collection
from typing import Any

from flask import Request
from flask_babel import lazy_gettext as _

from app.accounts import tokens
from app.http.errors import RETRY_SECONDS, ApiError, BadInput
from app.http.origins import is_known_origin

VERSION = "13"
SUBPROTOCOL = "bearer"


class UpgradeRequired(ApiError):
    """Only WebSockets, of the one version that there is, are served here."""

    status = 426
    code = "upgrade_required"
    detail = _("This address is for WebSockets (version 13).")

    def __init__(self) -> None:
        super().__init__(
            {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": VERSION}
        )


class TooManySockets(ApiError):
    """The worker has as many sockets as it may have, or is about to stop."""

    status = 503
    code = "too_many_sockets"
    detail = _("The server cannot take more connections at the moment.")

    def __init__(self) -> None:
        super().__init__({"Retry-After": str(RETRY_SECONDS)})


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
    if "upgrade" not in _tokens(headers.get("Connection", "")):
        errors["Connection"] = [_("The header must say Upgrade.")]
    if not _is_nonce(headers.get("Sec-WebSocket-Key", "")):
        errors["Sec-WebSocket-Key"] = [_("The header must be 16 bytes in base64.")]
    if errors:
        raise BadInput(errors)
    if headers.get("Sec-WebSocket-Version") != VERSION:
        raise UpgradeRequired


def tidy(environ: dict[str, Any]) -> None:
    """Leave of a handshake that was checked what is needed to answer it.

    wsproto (1.3.2) reads the headers once more, and raises where one of them is not as it
    expects: a host that is no IDNA, a protocol that is no ASCII, a body.
    """
    offered = _tokens(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
    # Compression would be done for each socket anew; a frame is encoded once for all of them.
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


def credentials_of(request: Request, origins: Collection[str]) -> str | None:
    """Return the access token of a handshake, from the first place that has one.

    Args:
        request: The handshake.
        origins: Other sites whose pages may use the cookie.
    """
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
    # A browser sends the cookie whatever page asks for the socket; a page of another site must
    # not speak in its reader's name.
    if is_known_origin(request, origins):
        return request.cookies.get(tokens.COOKIE)
    return None
