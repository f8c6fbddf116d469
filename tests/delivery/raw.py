"""Clients below the level of a WebSocket library: small buffers, and no manners."""

import base64
import socket
import struct
from urllib.parse import urlsplit

from tests.delivery.load import socket_url
from tests.factories import Person


def dial(person: Person, receive_bytes: int | None = None) -> socket.socket:
    """Return a connection to a person's server.

    Args:
        person: Who calls.
        receive_bytes: The size of its receive buffer; None: whatever is usual.
    """
    parts = urlsplit(person.url)
    connection = socket.socket()
    if receive_bytes is not None:
        # Before TCP's own handshake, which announces the window.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect((parts.hostname, parts.port))
    connection.settimeout(30)
    return connection


def handshake(person: Person, room: str, after: int | None = None) -> bytes:
    """Return the request that opens a socket (RFC 6455, section 4.1)."""
    parts = urlsplit(socket_url(person.url, room, after))
    lines = [
        f"GET {parts.path}?{parts.query} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: Bearer {person.access}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def shake_hands(
    person: Person, room: str, after: int | None = None, receive_bytes: int | None = None
) -> socket.socket:
    """Return a connection that has become a WebSocket; of what follows nothing is read."""
    connection = dial(person, receive_bytes)
    connection.sendall(handshake(person, room, after))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, head
        head += byte
    assert head.startswith(b"HTTP/1.1 101 "), head
    return connection


def reset(connection: socket.socket) -> None:
    """Close a connection with an RST, as a host does that went down and came back."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
