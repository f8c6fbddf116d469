"""What attackers work with: requests as bytes, connections, sockets."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from itertools import count

from tests.security.raw import frame, head_of

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
UPLOADS = "/messenger/api/uploads/"
PATIENCE = 20.0  # seconds for one answer
SOCKET_KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="

_addresses = count(2)


@dataclass(frozen=True)
class Account:
    """Somebody with an account on the server that is attacked."""

    username: str
    email: str
    access: str
    refresh: str


@dataclass
class Scene:
    """What an attack is given, in a process of its own.

    Attributes:
        port: Of the server, on the loopback.
        people: Attackers with accounts. Each has a room with everybody, the first ones a full one.
        room: The name of a room of the first two, with 1,000 long messages.
        until: When to stop, by `time.monotonic`.
        got: What came of it: statuses, and whatever else an attack counts.
    """

    port: int
    people: Sequence[Account]
    room: str
    until: float = 0.0
    got: Counter[str] = field(default_factory=Counter)
    ended: Callable[[], bool] = lambda: False

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until


Action = Callable[[], None]


def dial(scene: Scene, address: str | None = None, *, receive: int | None = None) -> socket.socket:
    """Connect to the server.

    Args:
        scene: Where.
        address: Of the loopback (127.0.0.0/8), from which to come.
        receive: Bytes that the kernel keeps for a client that does not read.
    """
    connection = socket.socket()
    if receive:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    connection.settimeout(PATIENCE)
    if address:
        connection.bind((address, 0))
    connection.connect(("127.0.0.1", scene.port))
    return connection


def new_address() -> str:
    """Return an address of the loopback that nobody had."""
    number = next(_addresses)
    return f"127.1.{number // 250}.{number % 250 + 2}"


def head(method: str, path: str, who: Account | None, *headers: str) -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if who:
        lines.append(f"Authorization: Bearer {who.access}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def get(path: str, who: Account | None = None, *headers: str) -> bytes:
    """Return a request that has no body."""
    return head("GET", path, who, *headers)


def send(
    method: str, path: str, body: bytes, kind: str = JSON, who: Account | None = None, *more: str
) -> bytes:
    """Return a request with a body."""
    length = f"Content-Length: {len(body)}"
    return head(method, path, who, f"Content-Type: {kind}", length, *more) + body


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """Return one part of a form whose boundary is `b`."""
    file = f'; filename="{filename}"' if filename else ""
    disposition = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return disposition.encode() + value + b"\r\n"


def upload(who: Account, picture: bytes) -> bytes:
    """Return the request that sends a picture for a profile."""
    body = part("image", picture, "a") + b"--b--\r\n"
    return send("PATCH", "/profiles/api/profile/", body, MULTIPART, who)


def file_upload(who: Account, file: bytes) -> bytes:
    """Return the request that sends a file for a message."""
    body = part("file", file, "a") + b"--b--\r\n"
    return send("POST", UPLOADS, body, MULTIPART, who)


def answer_of(connection: socket.socket) -> int:
    """Read a whole response; return its status."""
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    if response.will_close:
        connection.close()
    return response.status


def again_and_again(
    scene: Scene,
    requests: bytes | Callable[[], bytes],
    connections: int = 4,
    address: Callable[[], str | None] = lambda: None,
) -> list[Action]:
    """Send a request whenever the last one was answered, on some connections."""

    def one() -> None:
        connection: socket.socket | None = None
        while scene.goes_on:
            try:
                if connection is None or connection.fileno() < 0:
                    connection = dial(scene, address())
                with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered
                    connection.sendall(requests() if callable(requests) else requests)
                scene.got[str(answer_of(connection))] += 1
            except (OSError, HTTPException) as error:
                scene.got[type(error).__name__] += 1
                if connection:
                    connection.close()
                    connection = None
                time.sleep(0.01)

    return [one] * connections


def pipelined(scene: Scene, request: bytes, connections: int = 1, batch: int = 200) -> list[Action]:
    """Send requests without waiting for answers."""

    def one() -> None:
        with closing(dial(scene)) as connection, suppress(OSError):

            def pour() -> None:
                with suppress(OSError):
                    while scene.goes_on:
                        connection.sendall(request * batch)
                connection.shutdown(socket.SHUT_WR)

            writer = threading.Thread(target=pour, daemon=True)
            writer.start()
            while scene.goes_on and (piece := connection.recv(1 << 20)):
                scene.got["answers"] += piece.count(b"HTTP/1.1 ")

    return [one] * connections


def poured(
    scene: Scene, first: bytes, rest: bytes, connections: int = 1, pause: float = 0
) -> list[Action]:
    """Send a beginning, then the same bytes for as long as somebody takes them, and again."""

    def one() -> None:
        while scene.goes_on:
            scene.got["connections"] += 1
            with closing(dial(scene)) as connection, suppress(OSError):
                connection.sendall(first)
                while scene.goes_on:
                    connection.sendall(rest)
                    scene.got["MB"] += len(rest) // 1_000_000
                    time.sleep(pause)
            time.sleep(0.01)

    return [one] * connections


def unread(scene: Scene, request: bytes, connections: int) -> list[Action]:
    """Ask, and read a few bytes a second of the answer."""

    def all_of_them() -> None:
        held = []
        for _ in range(connections):
            connection = dial(scene, receive=4096)
            connection.sendall(request)
            held.append(connection)
        while scene.goes_on:
            time.sleep(0.5)
            for connection in held:
                connection.setblocking(False)
                with suppress(OSError):
                    scene.got["bytes"] += len(connection.recv(512))
        for connection in held:
            connection.close()

    return [all_of_them]


def open_socket(
    scene: Scene, path: str, who: Account | None = None, *headers: str, receive: int | None = None
) -> socket.socket:
    """Open a WebSocket; nothing of what it sends is read."""
    connection = dial(scene, receive=receive)
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", SOCKET_KEY)
    connection.sendall(head("GET", path, who, *upgrade, *headers))
    scene.got[head_of(connection)[9:12].decode()] += 1
    return connection


def chat(room: str, query: str = "") -> str:
    """Return the path of a room's socket."""
    return f"/messenger/ws/ws/chat/{room}/{query}"


def flooded(
    scene: Scene, path: str, who: Sequence[Account | None], piece: bytes, *, pause: float = 0.0
) -> list[Action]:
    """Send the same frames on sockets, one for each person, and open them again when closed."""

    def one(account: Account | None) -> None:
        while scene.goes_on:
            with (
                suppress(OSError, AssertionError),
                closing(open_socket(scene, path, account)) as it,
            ):
                threading.Thread(target=_drain, args=(it,), daemon=True).start()
                while scene.goes_on:
                    it.sendall(piece)
                    time.sleep(pause)
            time.sleep(0.01)

    return [lambda account=account: one(account) for account in who]  # type: ignore[misc]


def text(payload: bytes) -> bytes:
    """Return a frame with a text."""
    return frame(0x81, payload)


def _drain(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(1 << 20):
            pass
