"""Sockets that are misused: they are slowed or closed, alone, while others talk on.

The rules, byte by byte, are in tests/realtime/test_frames.py and tests/realtime/test_connection.py.
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median

import psycopg
import pytest
from websockets.sync.client import ClientConnection

from tests.factories import Person, make_person
from tests.security.raw import dial, frame, handshake, head_of, memory_of
from tests.servers import Server
from tests.talk import SECONDS, chat_path, hear, join, send_text

MEBIBYTE = 1024 * 1024
ATTACK_SECONDS = 0.6
BUSY_SECONDS = 0.25  # what an echo may take: the attacker shares an interpreter with the clock
UNREAD_BYTES = 20 * MEBIBYTE  # more than kernels keep for who does not read
MEMORY_MAX = 48 * MEBIBYTE  # that one attacker may cost
REASON = b"Too many messages or connections."
TOO_MANY = b"\x88" + bytes((2 + len(REASON),)) + struct.pack("!H", 4429) + REASON


def text(message: str) -> bytes:
    return frame(0x81, json.dumps({"message": message}).encode())


@contextmanager
def opened(server: Server, person: Person, room: str) -> Iterator[socket.socket]:
    """Open a socket of somebody who keeps to no rule."""
    with closing(dial(server)) as connection:
        bearer = f"Authorization: Bearer {person.access}"
        connection.sendall(handshake(server, chat_path(room), bearer))
        assert b" 101 " in head_of(connection)
        connection.settimeout(0.05)
        yield connection


def pour(connection: socket.socket, piece: bytes, seconds: float = ATTACK_SECONDS) -> None:
    """Send the same thing for a while, or until nobody takes it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection.sendall(piece)
        except TimeoutError:
            continue  # it is not read: that is how one is slowed
        except OSError:
            return


ATTACKS: dict[str, Callable[[socket.socket], None]] = {
    "texts without a pause": lambda it: pour(it, text("flood") * 50),
    "what is no message": lambda it: pour(it, frame(0x81, b"[" * 2000) * 20),
    "pings without a pause": lambda it: pour(it, frame(0x89, b"x" * 125) * 200),
    "pongs without a pause": lambda it: pour(it, frame(0x8A, b"x" * 125) * 200),
    "empty fragments for ever": lambda it: pour(it, frame(0x01, b"") + frame(0x00, b"") * 5000),
    "a letter a fragment": lambda it: pour(it, frame(0x01, b"x") + frame(0x00, b"x") * 5000),
    "a fragment of a gigabyte": lambda it: pour(it, frame(0x01, b"x" * MEBIBYTE, length=2**30)),
    "a frame beyond all sizes": lambda it: pour(it, frame(0x81, b"x" * MEBIBYTE, length=2**62)),
    "fragments that grow and grow": lambda it: pour(
        it, frame(0x01, b"x" * 60_000) + frame(0x00, b"x" * 60_000) * 3
    ),
    "half a frame": lambda it: pour(it, frame(0x81, b"x" * 1000, length=100_000), 0.2),
    "bytes of no sense": lambda it: pour(it, bytes(range(256)) * 100),
    "goodbyes": lambda it: pour(it, frame(0x88, struct.pack("!H", 1000)) * 100),
}


def echo_seconds(ws: ClientConnection) -> float:
    """Say something; return how many seconds its echo took."""
    time.sleep(0.02)
    began = time.monotonic()
    send_text(ws, "still here")
    assert hear(ws)["content"] == "still here"
    return time.monotonic() - began


@pytest.mark.alone
@pytest.mark.parametrize("attack", ATTACKS)
def test_others_talk_on_while_one_socket_is_misused(server: Server, attack: str) -> None:
    ann, bob, eve = (make_person(server.url) for _ in range(3))
    room, eves = ann.open_room(bob), eve.open_room(bob)
    delays = []
    with opened(server, eve, eves["name"]) as attacker, join(ann, room) as hers:
        memory = memory_of(server)
        quiet = median(echo_seconds(hers) for _ in range(10))
        thread = threading.Thread(target=ATTACKS[attack], args=(attacker,))
        thread.start()

        while not delays or thread.is_alive():
            delays.append(echo_seconds(hers))

        thread.join()
        assert memory_of(server) - memory < MEMORY_MAX

    assert median(delays) < max(3 * quiet, BUSY_SECONDS), delays


def test_flood_of_pings_is_refused_and_hardly_answered(server: Server) -> None:
    eve, bob = make_person(server.url), make_person(server.url)
    with opened(server, eve, eve.open_room(bob)["name"]) as attacker:
        attacker.settimeout(SECONDS)
        with suppress(OSError):
            attacker.sendall(frame(0x89, b"x" * 125) * 130_000)
        received = b""
        while TOO_MANY not in received:
            piece = attacker.recv(MEBIBYTE)
            assert piece, received[-400:]
            received += piece

    assert len(received) < 64 * 1024  # of the 16 MiB that all the pongs would be


@pytest.mark.server
def test_flooder_is_not_read_while_its_messages_are_not_stored(
    postgresql_url: str, tmp_path: Path
) -> None:
    with Server(tmp_path, {"DATABASE_URL": postgresql_url}) as server:
        eve, bob = make_person(server.url), make_person(server.url)
        room = eve.open_room(bob)
        with psycopg.connect(postgresql_url) as holder, opened(server, eve, room["name"]) as it:
            holder.execute("SELECT 1 FROM chat_rooms WHERE id = %s FOR UPDATE", (room["id"],))
            sent, message = 0, text("x" * 9_000)
            with suppress(TimeoutError):  # nobody takes it any more
                it.settimeout(0.5)
                while sent < 2 * UNREAD_BYTES:
                    sent += it.send(message)

    assert sent < UNREAD_BYTES


def test_sockets_of_nobody_are_closed_at_once_and_take_no_place(server: Server) -> None:
    eve = make_person(server.url)
    room = eve.open_room(make_person(server.url))
    strangers = []
    try:
        for _ in range(200):
            connection = dial(server)
            strangers.append(connection)
            connection.sendall(handshake(server, chat_path(room["name"])))
            assert b" 101 " in head_of(connection)
            assert connection.recv(1) == b"\x88"

        with join(eve, room) as hers:
            send_text(hers, "still room")
            assert hear(hers)["content"] == "still room"
    finally:
        for connection in strangers:
            connection.close()
