"""What can be done with WebSockets, by strangers and by members."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from bench.attacks.catalogue import Attack
from bench.attacks.kit import (
    SOCKET_KEY,
    Account,
    Action,
    Scene,
    again_and_again,
    chat,
    flooded,
    get,
    head,
    open_socket,
    text,
)
from tests.security.raw import frame

STREAM = "/messenger/ws/events/"
PING = frame(0x89, b"") * 4000
PONG = frame(0x8A, b"x" * 125) * 200
FRAGMENTS = frame(0x01, b"") + frame(0x00, b"") * 4000
BIG = b"\x01\xff" + (131_000).to_bytes(8, "big") + bytes(4) + b"x" * 120_000


T = TypeVar("T", str, bytes)


def _for(scene: Scene, value: T | Callable[[Scene], T]) -> T:
    return value(scene) if callable(value) else value


def _opened_again(
    path: str | Callable[[Scene], str], count: int, after: bytes = b""
) -> Callable[[Scene], list[Action]]:
    """Open sockets that are refused, hold them, and open more."""

    def begin(scene: Scene) -> list[Action]:
        def one() -> None:
            held: list[socket.socket] = []
            while scene.goes_on:
                try:
                    connection = open_socket(scene, _for(scene, path))
                    held.append(connection)
                    if after:
                        connection.setblocking(False)
                        connection.send(after)
                except (OSError, AssertionError) as error:
                    scene.got[type(error).__name__] += 1
                    time.sleep(0.02)
                while len(held) > count // 4:
                    held.pop(0).close()
            for connection in held:
                connection.close()

        return [one] * 4

    return begin


def _replays(
    path: str | Callable[[Scene], str], count: int, pause: float
) -> Callable[[Scene], list[Action]]:
    """Open sockets that ask for everything since the beginning, and read slowly."""

    def begin(scene: Scene) -> list[Action]:
        def one() -> None:
            while scene.goes_on:
                with (
                    suppress(OSError, AssertionError),
                    closing(
                        open_socket(scene, _for(scene, path), scene.people[0], receive=4096)
                    ) as it,
                ):
                    while scene.goes_on and (piece := it.recv(65536 if not pause else 4096)):
                        scene.got["MB"] += len(piece) // 1_000_000
                        scene.got["bytes"] += len(piece)
                        time.sleep(pause)
                time.sleep(0.05)

        return [one] * count

    return begin


def _members(
    piece: bytes | Callable[[Scene], bytes],
    path: str | Callable[[Scene], str],
    count: int = 20,
    pause: float = 0,
) -> Callable[[Scene], list[Action]]:
    def begin(scene: Scene) -> list[Action]:
        who: list[Account | None] = [scene.people[0]] * count
        return flooded(scene, _for(scene, path), who, _for(scene, piece), pause=pause)

    return begin


def _strangers(piece: bytes, count: int = 20) -> Callable[[Scene], list[Action]]:
    return lambda scene: flooded(scene, chat(scene.room), [None] * count, piece)


def _room(scene: Scene) -> str:
    return chat(scene.room)


def _texts(**body: object) -> Callable[[Scene], bytes]:
    return lambda scene: text(json.dumps({"room": scene.room, **body}).encode()) * 50


ACTIVE = text(b'{"type": "active", "active": true}') + text(b'{"type": "active", "active": false}')


def _reconnect(scene: Scene) -> list[Action]:
    def one() -> None:
        while scene.goes_on:
            with (
                suppress(OSError, AssertionError),
                closing(open_socket(scene, STREAM, scene.people[2])) as it,
            ):
                it.recv(100)

    return [one] * 4


def _heads(scene: Scene) -> list[Action]:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", SOCKET_KEY)
    return again_and_again(scene, head("HEAD", chat(scene.room), scene.people[0], *upgrade), 4)


def _abandoned(scene: Scene) -> list[Action]:
    """Close sockets without a word, with much on its way to them."""

    def one() -> None:
        while scene.goes_on:
            with suppress(OSError, AssertionError):
                path = chat(scene.room, "?after=0")
                connection = open_socket(scene, path, scene.people[0])
                threading.Event().wait(0.02)
                connection.close()

    return [one] * 8


ATTACKS = [
    Attack(
        "9 refused sockets",
        "1,000 without a token",
        _opened_again(_room, 1000),
        settings={"SOCKETS_MAX": "1000"},
    ),
    Attack("9 refused sockets", "400 that send 120 kB", _opened_again(_room, 400, BIG)),
    Attack("9 refused sockets", "streams without a token", _opened_again(STREAM, 1000)),
    Attack("9 refused sockets", "rooms that are not there", _opened_again(chat("a_b"), 400)),
    Attack(
        "10 replays", "40 that read slowly", _replays(lambda it: chat(it.room, "?after=0"), 40, 2.0)
    ),
    Attack("10 replays", "40 at once", _replays(lambda it: chat(it.room, "?after=0"), 40, 0)),
    Attack("10 replays", "40 streams at once", _replays(STREAM + "?after=0", 40, 0)),
    Attack(
        "10 replays",
        "40 streams that read slowly",
        _replays(STREAM + "?after=0", 40, 2.0),
    ),
    Attack("10 replays", "abandoned", _abandoned),
    Attack("19 control frames", "pings of 20 sockets", _members(PING, _room)),
    Attack("19 control frames", "pongs of 20 sockets", _members(PONG, _room)),
    Attack("19 control frames", "empty fragments of 20 sockets", _members(FRAGMENTS, _room)),
    Attack("19 control frames", "pings of 50 strangers", _strangers(PING, 50)),
    Attack("19 control frames", "fragments of 50 strangers", _strangers(FRAGMENTS, 50)),
    Attack("19 control frames", "pings on 20 streams", _members(PING, STREAM)),
    Attack("21 handshakes", "HEAD", _heads),
    Attack("21 handshakes", "streams opened again and again", _reconnect),
    Attack(
        "21 handshakes",
        "no upgrade",
        lambda it: again_and_again(it, get(chat(it.room), it.people[0]), 8),
    ),
    Attack("26 stream frames", "typing", _members(_texts(type="typing"), STREAM)),
    Attack("26 stream frames", "read", _members(_texts(type="read", read_id=1), STREAM)),
    Attack("26 stream frames", "active", _members(ACTIVE * 25, STREAM)),
    Attack("26 stream frames", "send", _members(_texts(type="send", content="x"), STREAM)),
    Attack("26 stream frames", "what is no JSON", _members(text(b"[" * 2000) * 20, STREAM)),
    Attack(
        "26 stream frames",
        "texts in a room",
        _members(text(b'{"message": "flood"}') * 50, _room),
    ),
]
