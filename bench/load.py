"""The load: WebSockets and HTTP connections of one process, below any library, so as to be cheap.

One loop over epoll; a frame is found by its first bytes and kept as it came, and whether
all was right is judged when the clock has stopped. Against a server that does nothing this
makes about a hundred thousand deliveries a second; every result says how busy it was.
"""

import base64
import os
import re
import select
import socket
from collections.abc import Callable
from time import monotonic
from zlib import MAX_WBITS, decompressobj

READ_BYTES = 256 * 1024
PATIENCE_SECONDS = 60  # for anything that has to come
DEFLATE = "permessage-deflate; client_max_window_bits"  # as browsers offer it

_TEXT, _COMPRESSED_TEXT, _CLOSE, _PING = 0x81, 0xC1, 0x88, 0x89


class Loop:
    """Calls whoever has something to read. Made before many sockets are: see `turn`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}

    def add(self, descriptor: int, readable: Callable[[], None]) -> None:
        """Call a function whenever a descriptor has something to read."""
        self._readers[descriptor] = readable
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Call it no more."""
        del self._readers[descriptor]
        self._epoll.unregister(descriptor)

    def turn(self, until: float) -> None:
        """Serve who is ready; wait for somebody until a time at most."""
        ready = self._epoll.poll(0, 256)
        if not ready:
            # epoll counts in milliseconds, and always up; select in microseconds, but it knows
            # only the first 1,024 descriptors, of which the epoll itself has to be one.
            select.select([self._epoll], (), (), max(0.0, until - monotonic()))
            ready = self._epoll.poll(0, 256)
        for descriptor, _ in ready:
            if reader := self._readers.get(descriptor):
                reader()

    def run(self, until: float) -> None:
        """Serve until a time."""
        while monotonic() < until:
            self.turn(until)

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Serve until something holds.

        Raises:
            TimeoutError: It does not.
        """
        deadline = monotonic() + PATIENCE_SECONDS
        while not done():
            if monotonic() > deadline:
                raise TimeoutError(f"not within {PATIENCE_SECONDS} s: {what}")
            self.turn(min(deadline, monotonic() + 0.1))


def mask(payload: bytes) -> bytes:
    """Return a text frame as a client sends it, masked with a random key (RFC 6455, 5.3)."""
    length = len(payload)
    head = bytes((_TEXT, 0x80 | length)) if length < 126 else b"\x81\xfe" + length.to_bytes(2)
    key = os.urandom(4)
    number = int.from_bytes(payload, "little") ^ int.from_bytes(
        (key * (length // 4 + 1))[:length], "little"
    )
    return head + key + number.to_bytes(length, "little")


class Socket:
    """One WebSocket.

    Args:
        loop: Who calls.
        port: Of the server, on the loopback.
        path: Of the chat.
        token: Who it is.
        deflate: Whether to offer compression.

    Attributes:
        frames: What came, each with its time; compressed where the server did so.
        is_open: From the 101 on, until it is closed.
        code: Of the server's goodbye, if there was one.
        on_frame: Is called with each payload.
        opened_at: When the 101 was seen.
    """

    __slots__ = (
        "_loop", "_rest", "_socket", "code", "dialed_at", "frames", "is_compressed", "is_open",
        "on_close", "on_frame", "on_open", "opened_at", "pings",
    )  # fmt: skip

    def __init__(
        self, loop: Loop, port: int, path: str, token: str, *, deflate: bool = False
    ) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self.is_open = self.is_compressed = False
        self.code: int | None = None
        self.pings = 0
        self.on_frame: Callable[[bytes], None] | None = None
        self.on_open: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        self._rest = b""
        self._loop = loop
        self.dialed_at = monotonic()
        self.opened_at = 0.0
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        extension = f"Sec-WebSocket-Extensions: {DEFLATE}\r\n" if deflate else ""
        self._socket.sendall(
            (
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"Authorization: Bearer {token}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                f"{extension}\r\n"
            ).encode()
        )
        self._socket.setblocking(False)
        loop.add(self._socket.fileno(), self._readable)

    def send(self, frame: bytes) -> None:
        """Send a frame that `mask` has made."""
        self._socket.send(frame)

    def close(self) -> None:
        """Hang up without a goodbye."""
        if self._socket.fileno() >= 0:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
        self.is_open = False

    def texts(self) -> list[tuple[float, bytes]]:
        """Return what came, uncompressed."""
        if not self.is_compressed:
            return self.frames
        inflater = decompressobj(-MAX_WBITS)
        return [
            (at, inflater.decompress(payload + b"\x00\x00\xff\xff")) for at, payload in self.frames
        ]

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._closed()
            return
        if self._rest:
            data = self._rest + data
        if not self.is_open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                raise ConnectionError(f"no 101: {(head + data)[:300]!r}")
            self.is_compressed = b"permessage-deflate" in head
            self.is_open = True
            self.opened_at = monotonic()
            if self.on_open:
                self.on_open()
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        now = monotonic()
        start, end = 0, len(data)
        while end - start >= 2:
            length = data[start + 1]
            body = start + 2
            if length == 126:
                body += 2
                length = int.from_bytes(data[start + 2 : body], "big")
            elif length == 127:
                body += 8
                length = int.from_bytes(data[start + 2 : body], "big")
            stop = body + length
            if stop > end or body > end:
                break
            head = data[start]
            payload = data[body:stop]
            start = stop
            if head in (_TEXT, _COMPRESSED_TEXT):
                self.frames.append((now, payload))
                if self.on_frame:
                    self.on_frame(payload)
            elif head == _PING:
                self.pings += 1
                self._socket.send(b"\x8a" + mask(payload)[1:])
            elif head == _CLOSE:
                self.code = int.from_bytes(payload[:2], "big")
            else:
                raise ConnectionError(f"unexpected frame: {head:#x}")
        self._rest = data[start:]

    def _closed(self) -> None:
        self.close()
        if self.on_close:
            self.on_close()


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


class Http:
    """One keep-alive connection that asks one thing after the other.

    Args:
        loop: Who calls.
        port: Of the server, on the loopback.
        answered: Is called with the status, the body, and how many seconds it took; returns
            the next request, or None to be silent.

    Attributes:
        head: Of the last answer.
    """

    def __init__(
        self, loop: Loop, port: int, answered: Callable[[int, bytes, float], bytes | None]
    ) -> None:
        self._loop = loop
        self._port = port
        self._answered = answered
        self._data = b""
        self._asked_at = 0.0
        self.is_busy = False
        self.head = b""
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> None:
        """Send a request that `request` has made."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._loop.add(self._socket.fileno(), self._readable)
        self.is_busy = True
        self._asked_at = monotonic()
        self._socket.sendall(request)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        assert self._socket
        data = self._socket.recv(READ_BYTES)
        if not data:
            if self.is_busy:
                raise ConnectionError(f"hung up instead of an answer: {self._data[:300]!r}")
            self.close()
            return
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if length is None:
            raise ConnectionError(f"no length: {head!r}")
        if len(body) < int(length[1]):
            return
        self._data = b""
        self.head = head
        self.is_busy = False
        if b"\r\nconnection: close" in head.lower():
            self.close()
        following = self._answered(int(head[9:12]), body, monotonic() - self._asked_at)
        if following is not None:
            self.ask(following)


def request(method: str, path: str, token: str = "", body: bytes = b"") -> bytes:
    """Return a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
