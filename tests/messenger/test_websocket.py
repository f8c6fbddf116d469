"""The chat socket's life before and beyond its frames: who gets in, from when on it hears."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from select import select
from socket import socket
from typing import Any

import pytest
from flask.testing import FlaskClient
from websockets.exceptions import InvalidStatus

from app.realtime.closing import TOO_BIG
from tests.crowds import all_at_once
from tests.delivery import raw
from tests.delivery.machines import children, wait_for
from tests.factories import Person, make_person
from tests.problems import check_problem
from tests.security.raw import frame
from tests.servers import Server
from tests.talk import close_code, hear, join, messages_path, send_text

SOCKETS_MAX = 3
RUSH = 20
TOO_LONG = ("Ж" * 70_000).encode()  # more bytes than a message may have, and fewer characters

# An application that breaks where the query of a handshake says so.
DEFECTIVE = """
import os
from types import SimpleNamespace

from flask import request

from app.messenger import handshake
from app.messenger.socket_registry import SocketRegistry
from app.realtime import Realtime
from wsgi import app  # gunicorn looks for it here


def breaking(name, function):
    def call(*args):
        if request.args.get("defect") == name:
            raise OSError("a defect")
        return function(*args)

    return call


handshake.os = SimpleNamespace(dup=breaking("dup", os.dup))
SocketRegistry.add = breaking("add", SocketRegistry.add)
Realtime.join = breaking("join", Realtime.join)
"""


class DefectiveServer(Server):
    """A server whose hand-over of sockets can be broken."""

    @property
    def web(self) -> list[str]:
        return [*super().web[:-1], "defective:app"]


class ModestServer(Server):
    """A server with few descriptors."""

    descriptors = 200

    @property
    def web(self) -> list[str]:
        return ["sh", "-c", f'ulimit -n {self.descriptors} && exec "$@"', "sh", *super().web]


def read_all(connection: socket) -> bytes:
    """Return what comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes few sockets."""
    folder: Path = tmp_path_factory.mktemp("small")
    with Server(folder, {"SOCKETS_MAX": str(SOCKETS_MAX)}) as server:
        yield server


@pytest.fixture(scope="module")
def pair(small_server: Server) -> tuple[Person, Person]:
    return make_person(small_server.url), make_person(small_server.url)


def test_worker_with_all_its_sockets_refuses_one_more_and_serves_rest(pair) -> None:
    ann, bob = pair
    room = ann.open_room(bob)
    with join(ann, room), join(bob, room):
        with join(ann, room) as third:
            with pytest.raises(InvalidStatus) as refused, join(bob, room):
                pass
            assert ann.get("/profiles/api/profile/").status_code == 200
            third.close()

        answer = refused.value.response
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"]
        assert b'"code":"too_many_sockets"' in (answer.body or b"")
        with join(bob, room) as admitted:  # there is room again
            send_text(admitted, "here")
            assert hear(admitted)["content"] == "here"


def test_socket_receives_messages_from_its_opening_on_and_none_older(pair) -> None:
    ann, bob = pair
    room = ann.open_room(bob)

    for number in range(30):
        ann.post(messages_path(room), {"content": f"before {number}"})
        with join(bob, room) as ws:
            said = ann.post(messages_path(room), {"content": f"after {number}"}).json()

            assert hear(ws) == said


def test_handshake_is_answered_in_http_before_the_upgrade(small_server: Server, pair) -> None:
    ann, bob = pair
    room = ann.open_room(bob)

    answer = ann.get(f"/messenger/ws/ws/chat/{room['name']}/")

    check_problem(answer, 426, "upgrade_required")
    assert answer.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.server
def test_rush_gets_no_more_places_than_there_are(postgresql_url: str, tmp_path: Path) -> None:
    settings = {"SOCKETS_MAX": str(SOCKETS_MAX), "DATABASE_URL": postgresql_url}
    with Server(tmp_path, settings) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)

        for turn in range(1, 4):
            crowd = [raw.dial(ann) for _ in range(RUSH)]
            for each in crowd:
                each.sendall(raw.handshake(ann, room["name"]))
            answers = Counter(each.recv(4096)[:12] for each in crowd)
            for each in crowd:
                each.close()

            # So many each time: a place that was kept in vain was given back.
            assert answers[b"HTTP/1.1 101"] == SOCKETS_MAX, answers
            assert answers[b"HTTP/1.1 503"] == RUSH - SOCKETS_MAX, answers
            wait_for(lambda: ends(server) == turn * SOCKETS_MAX, 5, "they are gone")  # noqa: B023


@pytest.mark.server
def test_sockets_leave_descriptors_for_rest(tmp_path: Path) -> None:
    with ModestServer(tmp_path) as server, ExitStack() as sockets:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)
        on_text = sockets.enter_context(join(bob, room))
        opened, status = 1, b"101"
        while status == b"101" and opened < 0.7 * server.descriptors:
            knocking = sockets.enter_context(raw.dial(ann))
            knocking.settimeout(5)
            knocking.sendall(raw.handshake(ann, room["name"]))
            status = knocking.recv(4096)[9:12]
            opened += status == b"101"

        assert status == b"503"
        assert opened > server.descriptors // 4
        statuses = all_at_once([lambda: ann.get(messages_path(room)).status_code] * RUSH)
        assert statuses == [200] * RUSH
        ann.post(messages_path(room), {"content": "here"})
        assert hear(on_text)["content"] == "here"

    (told,) = [each for each in lines(server) if "SOCKETS_MAX" in each["message"]]
    assert told["level"] == "WARNING"
    assert str(server.descriptors) in told["message"]
    assert str(opened) in told["message"]


@pytest.mark.server
def test_request_ends_with_the_upgrade(tmp_path: Path) -> None:
    # So few that gunicorn may serve at a time; each greenlet of it is one of them, and so is each
    # idle connection of a client, while it is kept.
    settings = {"GUNICORN_CMD_ARGS": "--worker-connections=3", "KEEPALIVE_SECONDS": "1"}
    with (
        Server(tmp_path, settings) as server,
        ExitStack() as stack,
    ):
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)
        sockets = [stack.enter_context(join(ann, room)) for _ in range(RUSH)]

        assert ann.get(messages_path(room)).status_code == 200
        for number, ws in enumerate(sockets):
            send_text(ws, str(number))
        for ws in sockets:
            assert {hear(ws)["content"] for _ in sockets} == {str(each) for each in range(RUSH)}


@pytest.mark.parametrize("fragments", [1, 7])
def test_too_many_bytes_are_refused_in_words_while_more_is_sent(
    small_server: Server, pair, fragments: int
) -> None:
    ann, bob = pair
    room = ann.open_room(bob)
    size = len(TOO_LONG) // fragments
    payloads = [TOO_LONG[start : start + size] for start in range(0, len(TOO_LONG), size)]
    heads = [0x01, *[0x00] * (len(payloads) - 2), 0x80] if fragments > 1 else [0x81]
    sent = b"".join(frame(*each) for each in zip(heads, payloads, strict=True))

    with closing(raw.shake_hands(ann, room["name"])) as connection:
        connection.sendall(sent[:-1_000])
        assert select([connection], [], [], 5)[0]  # the goodbye is there, and not read yet
        connection.sendall(sent[-1_000:])
        for _ in range(50):
            connection.sendall(frame(0x81, b"x" * 10_000))

        assert read_all(connection) == TOO_BIG.frame

    assert "Traceback" not in small_server.log.read_text()


@pytest.mark.parametrize("part", [1.0, 0.5, 0.1], ids=["whole", "half", "head"])
def test_frame_that_comes_with_the_handshake_costs_no_message(
    small_server: Server, part: float
) -> None:
    # A client has to wait for the 101 (RFC 6455, section 4.1); what it says before may be lost,
    # but only that, and it is told again under the same `client_id`.
    ann, bob = make_person(small_server.url), make_person(small_server.url)
    room = ann.open_room(bob)
    said = frame(0x81, b'{"message": "early", "client_id": "1"}')
    length = int(len(said) * part)
    with join(bob, room) as listening:
        with closing(raw.dial(ann)) as connection:
            connection.sendall(raw.handshake(ann, room["name"]) + said[:length])
            assert connection.recv(12) == b"HTTP/1.1 101"
            with suppress(OSError):
                connection.sendall(said[length:])
                connection.sendall(frame(0x81, b'{"message": "second", "client_id": "2"}'))

        with join(ann, room, after=0) as redialed:
            for number, text in enumerate(("early", "second", "last"), 1):
                send_text(redialed, text, client_id=str(number))
            got = []
            while "last" not in got:
                got.append(hear(redialed)["content"])
        on_text = [hear(listening)["content"] for _ in range(3)]

    assert set(got) == {"early", "second", "last"}
    assert sorted(on_text) == ["early", "last", "second"]
    assert [each["content"] for each in ann.get(messages_path(room)).json()] == on_text
    assert "Traceback" not in small_server.log.read_text()


@pytest.fixture(scope="module")
def defective_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("defective")
    (folder / "defective.py").write_text(DEFECTIVE)
    with DefectiveServer(folder, {"PYTHONPATH": str(folder)}) as server:
        yield server


@pytest.fixture(scope="module")
def defective_room(defective_server: Server) -> tuple[Person, dict[str, Any]]:
    """Somebody with a room, and no other connection to the server."""
    person = make_person(defective_server.url)
    room = person.open_room(make_person(defective_server.url))
    time.sleep(3)  # longer than gunicorn keeps an idle connection
    return person, room


@pytest.mark.parametrize("defect", ["dup", "add", "join"])
def test_defect_at_the_hand_over_closes_the_socket(
    defective_server: Server, defective_room: tuple[Person, dict[str, Any]], defect: str
) -> None:
    person, room = defective_room
    assert defective_server.process
    (worker,) = children(defective_server.process.pid)

    def sockets() -> int:
        folder = Path(f"/proc/{worker}/fd")
        return sum(str(each.readlink()).startswith("socket:") for each in folder.iterdir())

    idle, logged = sockets(), len(lines(defective_server))
    with join(person, room) as ws:
        with join(person, room, defect=defect) as broken:
            assert close_code(broken) == 1011

        wait_for(lambda: sockets() == idle + 1, 5, "its descriptors are closed")
        send_text(ws, "others go on")
        assert hear(ws)["content"] == "others go on"
    wait_for(lambda: sockets() == idle, 5, "all are closed")

    errors = [each for each in lines(defective_server)[logged:] if each["level"] == "ERROR"]
    step = "handed over" if defect == "dup" else "taken over"
    assert [each["message"] for each in errors] == [f"defect while a socket was {step}"]


def lines(server: Server) -> list[dict[str, Any]]:
    """Return what a server has logged."""
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def ends(server: Server) -> int:
    """Return how many sockets have come and gone."""
    return sum(line["message"] == "socket closed" for line in lines(server))


@pytest.mark.parametrize("line", [("HEAD", "1.1"), ("GET", "1.0")], ids=" HTTP/".join)
def test_only_a_get_of_http_1_1_is_a_handshake(small_server: Server, pair, line) -> None:
    ann, bob = pair
    method, version = line
    request = raw.handshake(ann, ann.open_room(bob)["name"])
    request = request.replace(b"GET", method.encode(), 1)
    request = request.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1)
    with closing(raw.dial(ann)) as connection:
        connection.sendall(request)
        assert connection.recv(4096).split()[1] == b"400"


def test_process_without_a_worker_says_where_sockets_are_served(client: FlaskClient) -> None:
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    response = client.get("/messenger/ws/ws/chat/any/", headers=handshake)

    assert response.status_code == 503
    assert response.json["code"] == "not_served_here"
    assert "make run" in response.json["detail"]


@pytest.mark.server
def test_dead_socket_gives_way_to_its_successor(tmp_path: Path) -> None:
    settings = {"SOCKETS_PER_USER": "2", "RATELIMIT_ENABLED": "true"}
    with Server(tmp_path, settings) as server, ExitStack() as stack:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)
        dead = stack.enter_context(closing(raw.shake_hands(ann, room["name"])))
        alive = stack.enter_context(join(ann, room))

        successor = stack.enter_context(join(ann, room))
        send_text(successor, "here again")

        assert hear(successor)["content"] == hear(alive)["content"] == "here again"
        assert read_all(dead)  # a ping, and then the end
        one_more = stack.enter_context(join(ann, room))
        assert close_code(one_more) == 4429
