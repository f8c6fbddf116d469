"""Why sockets are closed, as values: a code, a reason, and the close frame with both.

Source: RFC 6455, 5.5.1 and 7.4; https://www.iana.org/assignments/websocket for 1012 to 1014.
"""

from dataclasses import dataclass, field

REASON_MAX_BYTES = 123
"""What fits beside the code in the 125 bytes of a control frame. Source: RFC 6455, 5.5."""

_CLOSE_FRAME = 0x88  # FIN and opcode 8; a frame of a server carries no mask (RFC 6455, 5.1)


def may_be_sent(code: int) -> bool:
    """Tell whether a close code may stand in a frame.

    1004 has no meaning yet; 1005, 1006 and 1015 tell the local program how a
    connection ended without a code; the rest is undefined.

    Source: RFC 6455, 7.4.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


@dataclass(frozen=True, slots=True)
class Close:
    """One way of closing a socket, its frame encoded once for all sockets.

    Args:
        code: What `may_be_sent`; 4000 to 4999 are ours to define.
        reason: A short English sentence, at most `REASON_MAX_BYTES` of UTF-8, for authors of
            clients. Clients tell people what the code means.

    Raises:
        ValueError: Such a frame would break the protocol.
    """

    code: int
    reason: str = ""
    frame: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reason = self.reason.encode()
        if not may_be_sent(self.code):
            raise ValueError(f"{self.code} may not stand in a close frame")
        if len(reason) > REASON_MAX_BYTES:
            raise ValueError(f"the reason has {len(reason)} bytes, {REASON_MAX_BYTES} fit")
        payload = self.code.to_bytes(2, "big") + reason
        object.__setattr__(self, "frame", bytes((_CLOSE_FRAME, len(payload))) + payload)


NORMAL = Close(1000)  # only ever an answer to a client that closes with it
GOING_AWAY = Close(1001, "The server is shutting down.")
PROTOCOL_ERROR = Close(1002, "This breaks the WebSocket protocol (RFC 6455).")
BINARY_REFUSED = Close(1003, "Only text messages are understood here.")
NOT_UTF8 = Close(1007, "Text must be valid UTF-8.")
TOO_BIG = Close(1009, "The message is too big.")
DEFECT = Close(1011, "Something went wrong on the server.")
RESTARTING = Close(1012, "The server is restarting. Please reconnect.")

BAD_CURSOR = Close(4400, "The parameter 'after' must be a number.")
BAD_MOST = Close(4400, "The parameter 'most' must be a number.")
UNAUTHENTICATED = Close(4401, "A valid access token is needed.")
SESSION_REVOKED = Close(4401, "The session was ended. Please log in again.")
NO_SUCH_ROOM = Close(4404, "There is no such room.")
SLOW_READER = Close(4408, "Too much was waiting to be read.")
TOO_MANY = Close(4429, "Too many messages or connections.")
