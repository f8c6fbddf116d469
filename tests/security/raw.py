"""Clients below the level of a library: bytes of their own choice, and all the time in the world."""

import base64
import socket
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from tests.delivery.machines import children
from tests.servers import Server

SECONDS = 10


class Answer(NamedTuple):
    """What came back of HTTP; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def memory_of(server: Server) -> int:
    """Return the resident bytes of the only worker."""
    assert server.process
    (worker,) = children(server.process.pid)
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096


def dial(server: Server) -> socket.socket:
    """Return a connection to a server."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)


def frame(head: int, payload: bytes, mask: bytes = b"\0\0\0\0", length: int | None = None) -> bytes:
    """Return a frame of a client, masked; `length` is what it says it has."""
    said = len(payload) if length is None else length
    if said < 126:
        size = bytes((0x80 | said,))
    elif said < 65536:
        size = b"\xfe" + said.to_bytes(2, "big")
    else:
        size = b"\xff" + said.to_bytes(8, "big")
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if any(mask) else payload
    return bytes((head,)) + size + mask + masked


def converse(server: Server, sent: bytes) -> bytes:
    """Send bytes, say that no more will come, and return all that is answered."""
    with closing(dial(server)) as connection:
        with suppress(OSError):  # it has refused what it has read so far
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the server hangs up."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request of HTTP that ends its connection. Only what is told is in it."""
    lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def handshake(server: Server, path: str, *headers: str, host: str | None = None) -> bytes:
    """Return the opening handshake of a WebSocket (RFC 6455, section 4.1)."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {f'127.0.0.1:{server.port}' if host is None else host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def head_of(connection: socket.socket) -> bytes:
    """Return the head of the next answer, and leave what follows it unread."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, head
        head += byte
    return head


def parse(received: bytes) -> Answer:
    """Read the one answer that bytes begin with."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Answer(int(first.split(" ", 2)[1]), headers, body)


def ask(server: Server, sent: bytes) -> Answer:
    """Send a request and return its answer, the only one."""
    received = converse(server, sent)
    assert received.count(b"HTTP/1.1 ") == 1, received
    return parse(received)


def seconds_until_hung_up(connection: socket.socket, first: bytes, drip: bytes) -> float:
    """Send a beginning, and go on a little at a time until the server has had enough of it."""
    began = time.monotonic()
    connection.sendall(first)
    connection.settimeout(0.1)
    while time.monotonic() - began < SECONDS:
        try:
            if drip:
                connection.sendall(drip)
            if not connection.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began
