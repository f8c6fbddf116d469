"""One worker on SQLite, as `make run` starts it, loses nothing, whatever happens to it."""

import asyncio
import random
import resource
import secrets
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from app.realtime.closing import SLOW_READER
from tests.delivery import raw
from tests.delivery.checker import Ack, Message, Said, Socket
from tests.delivery.faults import (
    ALL_ARE_KILLED,
    LIVE_SECONDS,
    PROCESS_FAULTS,
    Fault,
    Stage,
    bury,
    master,
    sqlite_stage,
    workers,
)
from tests.delivery.load import (
    Ear,
    Flood,
    Load,
    SocketWriter,
    list_messages,
    messages_path,
    socket_url,
)
from tests.delivery.machines import none_lives, signal_all, wait_for
from tests.delivery.proxy import Proxy
from tests.factories import Person, make_person

# The load takes a processor of its own, and all have promises about time.
pytestmark = [pytest.mark.long, pytest.mark.alone]

LONG = "Ж" * 9_990  # with a number before it at most 10,000 characters, about 20 KB of UTF-8
LONG_MESSAGES = 300  # together more than kernels and an outbox keep for one reader
KILLS = 5
STOPPED = 5  # readers
TRIES = 3  # a measurement may be disturbed by what else this machine does
MEMORY_SLACK = 8 * 1024 * 1024


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


class Sleeper(Ear):
    """Reads nothing while it sleeps, as a process that was stopped.

    Attributes:
        is_asleep: Whether it does.
    """

    is_asleep = False

    async def _stay(self) -> bool:
        # A usual buffer would grow until it takes all that is said.
        self._options = {"sock": raw.dial(self._person, 65536), "max_queue": 1}
        return await super()._stay()

    async def _live(self, ws: AsyncConnection, view: Socket) -> None:
        while True:
            while self.is_asleep:
                await asyncio.sleep(0.05)
            self._hear(view, await ws.recv())


def say_long(load: Load, room: str) -> float:
    """Say more in a room than may wait for anybody.

    Returns:
        How long the messages of all others took meanwhile, at worst but for one in a hundred.
    """
    since = time.monotonic()
    person = load.owners[room]
    for number in range(LONG_MESSAGES):
        said = Said(
            room, person.username, secrets.token_hex(8), f"{number} {LONG}", time.monotonic()
        )
        load.history.said.append(said)
        body = {"content": said.content, "client_id": said.client_id}
        answer = person.post(messages_path(room), body)
        assert answer.status_code == 201
        load.history.acks.append(Ack(room, Message(**answer.json()), time.monotonic()))
    return quantiles(load.on_text(since, time.monotonic()), n=100)[98]


def is_told_to_be_slow(connection: socket.socket) -> bool:
    """Read a connection to its close frame; tell whether it has the code for a slow reader."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # enough of being slow
    end = b""
    with suppress(TimeoutError):
        while not end.endswith(SLOW_READER.frame) and (piece := connection.recv(65536)):
            end = end[-len(SLOW_READER.frame) :] + piece
    return end.endswith(SLOW_READER.frame)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


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


def test_file_is_sound_however_often_writing_is_cut_off(stage: Stage) -> None:
    (server,) = stage.servers
    verdicts = []
    with Load(stage.urls) as load:
        load.wait_until_busy()
        for _ in range(KILLS):
            time.sleep(random.uniform(0, 0.5))
            pids = [master(server), *workers(server)]
            signal_all(pids, signal.SIGKILL)
            wait_for(partial(none_lives, pids), 10, "the killed are dead")
            bury(server)
            verdicts.append(integrity(stage))
            server.start()
            load.wait_until_live(LIVE_SECONDS)

    assert verdicts == ["ok"] * KILLS
    fault = ALL_ARE_KILLED
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


def test_half_open_clients_come_back_to_where_they_were(stage: Stage) -> None:
    (server,) = stage.servers
    with Proxy("127.0.0.1", server.port) as proxy, Load(stage.urls) as load:
        far = f"http://127.0.0.1:{proxy.port}"
        for room, person in load.owners.items():
            load.add(SocketWriter(load, far, person, room, after=0))
            load.add(Ear(load, far, person, room))
        load.wait_until_busy()

        # The server does not learn of it: it goes on writing to sockets that nobody has any more.
        proxy.strand()
        time.sleep(1)
        load.redial()
        load.wait_until_live(LIVE_SECONDS)

    print(load.report())
    assert load.problems() == []


def test_clients_who_stop_for_a_while_miss_nothing(stage: Stage) -> None:
    (url,) = stage.urls
    with Load(stage.urls) as load:
        room, person = next(iter(load.owners.items()))
        sleepers = [Sleeper(load, url, person, room) for _ in range(3)]
        for sleeper in sleepers:
            load.add(sleeper)
        load.wait_until_busy()

        for sleeper in sleepers:
            sleeper.is_asleep = True
        say_long(load, room)
        for sleeper in sleepers:
            sleeper.is_asleep = False
        load.wait_until_live(LIVE_SECONDS)

    # Who slept through more than may wait for them was closed, and has read on since.
    assert load.farewells[4408] == len(sleepers)
    assert load.problems(farewells={4408}) == []


def test_readers_who_stop_cost_others_neither_time_nor_memory(stage: Stage) -> None:
    (server,) = stage.servers
    (worker,) = workers(server)
    with Load(stage.urls) as load:
        room, person = next(iter(load.owners.items()))
        load.wait_until_busy()
        calm = say_long(load, room)
        held = resident_bytes(worker)  # what such talk needs it may keep
        tries: list[tuple[float, float]] = []
        while True:
            stopped = [raw.shake_hands(person, room, receive_bytes=4096) for _ in range(STOPPED)]
            busy = say_long(load, room)
            for connection in stopped:
                assert is_told_to_be_slow(connection)
                connection.close()
            tries.append((calm, busy))
            if busy <= 3 * calm + 0.02:
                break
            assert len(tries) < TRIES, f"p99 without and with readers who stop: {tries}"
            calm = say_long(load, room)

    print(f"p99 without and with readers who stop: {tries}")
    wait_for(lambda: resident_bytes(worker) - held < MEMORY_SLACK, 10, "memory is back")
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

        on_text = []
        for content in said:
            assert ann.post(messages_path(room), {"content": content}).status_code == 201
            on_text.append(read(awake)["content"])
        got, code = read_to_the_end(stopped)

    assert on_text == said
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
        on_text = [read(ws)["content"] for _ in said]

    assert on_text == said


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
