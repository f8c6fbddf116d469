"""One worker on SQLite, as `make run` starts it, loses nothing, whatever happens to it."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.delivery import raw
from tests.delivery.faults import PROCESS_FAULTS, Fault, Stage, sqlite_stage
from tests.delivery.load import (
    Ear,
    Flood,
    Load,
    list_messages,
    messages_path,
    socket_url,
)
from tests.factories import Person, make_person

LONG = "Ж" * 9_990  # with a number before it at most 10,000 characters, about 20 KB of UTF-8


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with sqlite_stage(tmp_path_factory.mktemp("delivery")) as stage:
        yield stage


@pytest.fixture
def pair(stage: Stage) -> tuple[Person, Person, str]:
    """Two people, and the name of their room."""
    (url,) = stage.urls
    ann, bob = make_person(url), make_person(url)
    return ann, bob, ann.open_room(bob)["name"]


def open_socket(
    person: Person, room: str, after: int | None = None, receive_bytes: int | None = None
) -> ClientConnection:
    """Open a socket that reads no further than its program has asked for."""
    return connect(
        socket_url(person.url, room, after),
        sock=raw.dial(person, receive_bytes),
        additional_headers=person.bearer,
        compression=None,
        ping_interval=None,
        max_queue=1,
        proxy=None,
    )


def read(ws: ClientConnection) -> dict[str, Any]:
    """Return the next frame."""
    frame: dict[str, Any] = orjson.loads(ws.recv(timeout=30))
    return frame


def read_to_the_end(ws: ClientConnection) -> tuple[list[str], int | None]:
    """Return the contents of all that still comes, and the code with which the socket closes."""
    contents: list[str] = []
    while True:
        try:
            contents.append(read(ws)["content"])
        except ConnectionClosed as closed:
            return contents, closed.rcvd.code if closed.rcvd else None


def integrity(stage: Stage) -> str:
    """Return what SQLite says of its file."""
    (server,) = stage.servers
    connection = sqlite3.connect(server.folder / "beseda.db")
    try:
        (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
    finally:
        connection.close()
    return str(answer)


@pytest.mark.parametrize("fault", PROCESS_FAULTS, ids=str)
def test_nothing_is_lost_or_doubled_when(stage: Stage, fault: Fault) -> None:
    with Load(stage.urls) as load:
        load.wait_until_busy()
        fault.strike(stage)
        load.wait_until_live(fault.seconds)

    print(load.report())
    assert load.problems(excuses=fault.excuses, farewells=fault.farewells) == []
    assert integrity(stage) == "ok"


def leave_before_the_handshake(person: Person, room: str) -> None:
    raw.reset(raw.dial(person))


def leave_within_the_handshake(person: Person, room: str) -> None:
    connection = raw.dial(person)
    connection.sendall(raw.handshake(person, room)[:-5])
    raw.reset(connection)


def leave_without_reading(person: Person, room: str) -> None:
    raw.reset(raw.shake_hands(person, room, after=0, receive_bytes=4096))


def leave_within_a_frame(person: Person, room: str) -> None:
    connection = raw.shake_hands(person, room)
    connection.sendall(b"\x81\xfe\x10")  # a text of more than 4,096 bytes begins
    raw.reset(connection)


def leave_without_a_goodbye(person: Person, room: str) -> None:
    raw.shake_hands(person, room).close()


@pytest.mark.parametrize(
    "leave",
    [
        leave_before_the_handshake,
        leave_within_the_handshake,
        leave_without_reading,
        leave_within_a_frame,
        leave_without_a_goodbye,
    ],
)
def test_clients_who_vanish_harm_nobody(stage: Stage, leave: Callable[[Person, str], None]) -> None:
    with Load(stage.urls) as load:
        load.wait_until_busy()
        for _ in range(10):
            for room, person in load.owners.items():
                leave(person, room)
        load.wait_until_live(3)

    assert load.problems() == []


def test_reader_who_stops_is_closed_and_slows_nobody(
    pair: tuple[Person, Person, str],
) -> None:
    ann, bob, room = pair
    with (
        open_socket(bob, room, receive_bytes=4096) as stopped,
        open_socket(bob, room) as awake,
    ):
        said = [f"{number} {LONG}" for number in range(300)]

        heard = []
        for content in said:
            assert ann.post(messages_path(room), {"content": content}).status_code == 201
            heard.append(read(awake)["content"])
        got, code = read_to_the_end(stopped)

    assert heard == said
    assert code == 4408
    assert got == said[: len(got)]
    assert len(got) < len(said)


def test_long_messages_pass_through_a_small_window(pair: tuple[Person, Person, str]) -> None:
    ann, bob, room = pair
    with open_socket(bob, room, receive_bytes=4096) as ws:
        # Fewer than 1 MiB, so that the reader may take its time.
        said = [f"{number} {LONG}" for number in range(45)]

        for content in said:
            assert ann.post(messages_path(room), {"content": content}).status_code == 201
        heard = [read(ws)["content"] for _ in said]

    assert heard == said


def test_thousands_are_resumed_while_others_write(stage: Stage) -> None:
    (url,) = stage.urls
    with Load(stage.urls) as load:
        room, person = next(iter(load.owners.items()))
        flood = Flood(load, url, person, room, messages=3_000)
        load.add(flood)
        assert not load.wait(lambda: flood.unheard, 60)
        stored = list_messages(person, room)

        for after in (0, 0, stored[7].id, stored[1_500].id):
            load.add(Ear(load, url, person, room, after=after))
        load.wait_until_live(20)

    assert load.problems() == []
