"""How a server comes and goes, and what it does while its database is away."""

import asyncio
import os
import re
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import orjson
import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from app.realtime.closing import RESTARTING
from tests.delivery import raw
from tests.delivery.faults import (
    LEAVE_SECONDS,
    LIVE_AFTER_SILENCE_SECONDS,
    LIVE_SECONDS,
    SERVER_IS_RESTARTED,
    SETTINGS,
    Stage,
    bury,
    master,
    postgresql_stage,
    workers,
)
from tests.delivery.load import SETTLE_SECONDS, Load, messages_path, socket_url
from tests.delivery.machines import PostgresServer, none_lives, wait_for
from tests.factories import Person, make_person
from tests.servers import Server

STOP_SECONDS = 5  # the promise: so long after SIGTERM all is gone
REFUSE_SECONDS = 5  # … and so long may an answer take while the database is away
AT_ONCE_SECONDS = 3  # for 50 requests: a wait for a connection alone would be longer
CROWD = 200
MANY = 5_000
MEMORY_SLACK = 3 * 1024 * 1024  # 600 bytes a socket; half of it was seen by chance
MUTE = 5
POOL_SIZE = 5
READERS = 3


@pytest.fixture(scope="module")
def sqlite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("lifecycle"), SETTINGS) as server:
        yield server


@pytest.fixture
def own_server(sqlite_server: Server) -> Server:
    """A running server on SQLite that a test may stop, if it buries it."""
    if sqlite_server.process is None:
        sqlite_server.start()
    return sqlite_server


@pytest.fixture(scope="module")
def stage(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One worker on PostgreSQL, with few connections to it."""
    with postgresql_stage(tmp_path_factory.mktemp("lifecycle"), postgres, workers=1) as stage:
        (server,) = stage.servers
        server.stop()
        server.env["DATABASE_POOL_SIZE"] = str(POOL_SIZE)
        server.start()
        yield stage


def make_pair(url: str) -> tuple[Person, str]:
    """Return somebody with a room, and its name."""
    person = make_person(url)
    return person, person.open_room(make_person(url))["name"]


async def open_socket(person: Person, room: str, after: int | None = None) -> ClientConnection:
    return await connect(
        socket_url(person.url, room, after),
        additional_headers=person.bearer,
        compression=None,
        ping_interval=None,
        proxy=None,
    )


async def open_crowd(person: Person, room: str, size: int = CROWD) -> list[ClientConnection]:
    """Open many sockets, not all in the same instant."""
    crowd: list[ClientConnection] = []
    while len(crowd) < size:
        crowd += await asyncio.gather(*(open_socket(person, room) for _ in range(50)))
    return crowd


async def closing_codes(crowd: list[ClientConnection]) -> set[int | None]:
    """Wait until all sockets are closed, and return how."""
    async with asyncio.timeout(LEAVE_SECONDS):
        await asyncio.gather(*(socket.wait_closed() for socket in crowd))
    return {socket.close_code for socket in crowd}


async def wait_gone(pids: list[int], seconds: float) -> None:
    """Wait for the end of processes without holding up the sockets."""
    await asyncio.to_thread(wait_for, partial(none_lives, pids), seconds, "the processes are gone")


def test_sigterm_sends_a_close_frame_to_every_socket(own_server: Server) -> None:
    person, room = make_pair(own_server.url)
    pids = [master(own_server), *workers(own_server)]

    async def scenario() -> set[int | None]:
        crowd = await open_crowd(person, room)
        os.kill(master(own_server), signal.SIGTERM)
        await wait_gone(pids, STOP_SECONDS)
        bury(own_server)
        return await closing_codes(crowd)

    assert asyncio.run(scenario()) == {1012}
    assert "Traceback" not in own_server.log.read_text()


def test_sigterm_under_load_sends_a_close_frame_to_every_socket_of_all_workers(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with postgresql_stage(tmp_path, postgres, workers=3) as stage, Load(stage.urls) as load:
        (server,) = stage.servers
        person, room = make_pair(server.url)
        load.wait_until_busy()
        pids = [master(server), *workers(server)]

        async def scenario() -> set[int | None]:
            crowd = await open_crowd(person, room)
            os.kill(master(server), signal.SIGTERM)
            await wait_gone(pids, STOP_SECONDS)
            return await closing_codes(crowd)

        # They read nothing before all is over, so they answer no goodbye either.
        mute = [raw.shake_hands(person, room) for _ in range(MUTE)]
        codes = asyncio.run(scenario())
        bury(server)
        last_words = [connection.recv(4096) for connection in mute]
        for connection in mute:
            connection.close()
        server.start()
        load.wait_until_live(LIVE_SECONDS)

    assert len(pids) == 4
    assert codes == {1012}
    assert last_words == [RESTARTING.frame] * MUTE
    fault = SERVER_IS_RESTARTED
    assert load.problems(excuses=fault.excuses, farewells=fault.farewells) == []
    assert "Traceback" not in server.log.read_text()
    assert '"traceback"' not in server.log.read_text()


def test_worker_whose_master_was_killed_sends_close_frames_and_ends(own_server: Server) -> None:
    person, room = make_pair(own_server.url)
    orphans = workers(own_server)

    async def scenario() -> set[int | None]:
        crowd = await open_crowd(person, room)
        os.kill(master(own_server), signal.SIGKILL)
        bury(own_server)
        await wait_gone(orphans, LEAVE_SECONDS)
        return await closing_codes(crowd)

    assert asyncio.run(scenario()) == {1012}
    assert "Traceback" not in own_server.log.read_text()


def test_sighup_is_never_seen_as_a_defect(own_server: Server) -> None:
    person, room = make_pair(own_server.url)
    before = workers(own_server)

    is_over = asyncio.Event()

    async def knock_by_rest(seen: set[str]) -> None:
        async with httpx.AsyncClient(base_url=own_server.url, timeout=30) as http:
            while not is_over.is_set():
                # Each on a connection of its own: it is those who come now that matter.
                headers = person.bearer | {"Connection": "close"}
                answer = await http.get(messages_path(room), headers=headers)
                seen.add(str(answer.status_code))

    async def knock_by_socket(seen: set[str]) -> None:
        while not is_over.is_set():
            try:
                socket = await open_socket(person, room)
            except InvalidStatus as refused:
                seen.add(str(refused.response.status_code))
            else:
                seen.add("101")
                await socket.close()

    async def scenario() -> tuple[set[int | None], set[str]]:
        crowd = await open_crowd(person, room)
        seen: set[str] = set()
        knocking = [
            asyncio.create_task(knock(seen))
            for knock in (knock_by_rest, knock_by_rest, knock_by_socket, knock_by_socket)
        ]
        os.kill(master(own_server), signal.SIGHUP)
        await wait_gone(before, 10)
        await asyncio.to_thread(own_server.wait_ready)
        is_over.set()
        outcomes = await asyncio.gather(*knocking, return_exceptions=True)
        seen |= {repr(outcome) for outcome in outcomes if outcome is not None}
        return await closing_codes(crowd), seen

    codes, seen = asyncio.run(scenario())

    assert codes == {1012}
    assert seen <= {"101", "200", "503"}
    assert "Traceback" not in own_server.log.read_text()


def test_sockets_hold_no_connections_to_the_database(stage: Stage) -> None:
    person, room = make_pair(stage.urls[0])

    for number in range(20):
        person.post(messages_path(room), {"content": f"before {number}"})

    async def hear_until_end(socket: ClientConnection) -> None:
        while orjson.loads(await socket.recv())["content"] != "end":
            pass

    async def scenario() -> tuple[set[int], int]:
        crowd = await open_crowd(person, room, CROWD // 2)
        for _ in range(CROWD // 2):
            socket = await open_socket(person, room, after=0)
            await socket.send('{"message": "here"}')
            crowd.append(socket)
        hearing = [asyncio.create_task(hear_until_end(socket)) for socket in crowd]
        async with httpx.AsyncClient(base_url=person.url, headers=person.bearer) as http:
            await http.post(messages_path(room), json={"content": "end"})
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*hearing)
            # Nothing happens any more. Whatever a socket held, it would hold now.
            async with asyncio.timeout(AT_ONCE_SECONDS):
                answers = await asyncio.gather(*(http.get(messages_path(room)) for _ in range(50)))
        connections = connections_of(stage)
        await asyncio.gather(*(socket.close() for socket in crowd))
        return {answer.status_code for answer in answers}, connections

    statuses, connections = asyncio.run(scenario())

    assert statuses == {200}
    assert connections <= POOL_SIZE + 2  # two of the bus


def connections_of(stage: Stage) -> int:
    """Return how many connections the servers hold to their database."""
    with psycopg.connect(stage.admin_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'beseda'"
        ).fetchone()
    assert row
    return int(row[0])


def test_five_thousand_closed_sockets_leave_no_descriptors_and_no_memory(
    own_server: Server,
) -> None:
    person, room = make_pair(own_server.url)
    (worker,) = workers(own_server)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # our ends are as many

    def descriptors() -> int:
        return len(list(Path(f"/proc/{worker}/fd").iterdir()))

    def resident_bytes() -> int:
        pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def come_and_go() -> int:
        """Open all of them, close all of them; return the memory that is held then."""
        crowd: list[socket.socket] = []
        while len(crowd) < MANY:
            some = [raw.dial(person) for _ in range(50)]
            for connection in some:
                connection.sendall(raw.handshake(person, room))
            for connection in some:
                assert connection.recv(1024).startswith(b"HTTP/1.1 101 ")
            crowd += some
        assert descriptors() > MANY
        assert person.post(messages_path(room), {"content": "to all"}).status_code == 201
        for number, connection in enumerate(crowd):
            if number % 2:
                raw.reset(connection)
            else:
                connection.close()
        wait_for(lambda: descriptors() <= before + 5, 20, "descriptors level off")
        return resident_bytes()

    before = descriptors()
    began = resident_bytes()
    held = come_and_go()  # what a worker needs for so many it may keep
    again = come_and_go()  # … but it needs no more for as many again

    print(f"{held - began:,} bytes more after {MANY} sockets, {again - held:,} after as many again")
    assert again - held < MEMORY_SLACK


def refuse(stage: Stage) -> Callable[[], None]:
    assert stage.to_database
    stage.to_database.refuse()
    return stage.to_database.accept


def fall_silent(stage: Stage) -> Callable[[], None]:
    assert stage.to_database
    stage.to_database.silence()
    return stage.to_database.resume


def stand_still(stage: Stage) -> Callable[[], None]:
    assert stage.postgres
    stage.postgres.pause()
    return stage.postgres.go_on


@pytest.mark.parametrize(
    ("go_away", "live_seconds"),
    [
        (refuse, LIVE_SECONDS),
        (fall_silent, LIVE_AFTER_SILENCE_SECONDS),
        (stand_still, LIVE_SECONDS),
    ],
)
def test_unavailable_database_is_reported_in_time_and_closes_nothing(
    stage: Stage, go_away: Callable[[Stage], Callable[[], None]], live_seconds: float
) -> None:
    person, room = make_pair(stage.urls[0])

    async def scenario() -> tuple[list[object], dict[str, str]]:
        async with (
            await open_socket(person, room) as socket,
            httpx.AsyncClient(
                base_url=person.url, headers=person.bearer, timeout=REFUSE_SECONDS
            ) as http,
        ):
            # All connections of the pool are open, as in a service that has been busy.
            await asyncio.gather(*(http.get(messages_path(room)) for _ in range(20)))
            come_back = go_away(stage)
            try:
                await socket.send('{"message": "lost", "client_id": "1"}')
                answers = await asyncio.gather(
                    *(http.get(messages_path(room)) for _ in range(READERS)),
                    http.post(messages_path(room), json={"content": "lost"}),
                    *(knock(person, room, after) for after in (None, 0)),
                    return_exceptions=True,
                )
                async with asyncio.timeout(REFUSE_SECONDS):
                    error = orjson.loads(await socket.recv())["error"]
            finally:
                come_back()
            async with asyncio.timeout(live_seconds):
                while not await is_posted(http, room):
                    await asyncio.sleep(0.1)
                while orjson.loads(await socket.recv())["content"] != "back":
                    pass
        return [outcome_of(answer) for answer in answers], error

    outcomes, error = asyncio.run(scenario())

    assert outcomes == [(503, True)] * (READERS + 3)
    assert error["code"] in ("database_unavailable", "outcome_unknown")
    assert error["client_id"] == "1"


async def knock(person: Person, room: str, after: int | None) -> tuple[int, bool]:
    """Return the status of a handshake and whether it says when to come again."""
    try:
        async with asyncio.timeout(REFUSE_SECONDS):
            socket = await open_socket(person, room, after)
    except InvalidStatus as refused:
        return refused.response.status_code, "Retry-After" in refused.response.headers
    await socket.close()
    return 101, False


async def is_posted(http: httpx.AsyncClient, room: str) -> bool:
    try:
        answer = await http.post(messages_path(room), json={"content": "back"})
    except httpx.TransportError:
        return False
    return answer.is_success


def outcome_of(answer: httpx.Response | tuple[int, bool] | BaseException) -> object:
    """Return the status of an answer and whether it says when to come again."""
    if isinstance(answer, BaseException):
        return repr(answer)
    if isinstance(answer, tuple):
        return answer
    return answer.status_code, "Retry-After" in answer.headers


def test_log_tells_who_came_and_went_and_no_token(own_server: Server) -> None:
    person, room = make_pair(own_server.url)
    room_id = person.get("/messenger/api/chatrooms/").json()[0]["id"]
    query = f"{socket_url(person.url, room)}?token={person.access}"

    async def scenario() -> None:
        async with connect(query, proxy=None) as socket:
            await socket.close(4000)
        for url in (
            f"{query}&after=x",
            f"{socket_url(person.url, 'nobodys')}?token={person.access}",
        ):
            async with connect(url, proxy=None) as socket:
                await socket.wait_closed()

    asyncio.run(scenario())
    # The same again where no WebSocket is asked for, and where tokens do not belong.
    httpx.get(query.replace("ws://", "http://"))
    httpx.get(f"{own_server.url}/messenger/api/chatrooms/?token={person.access}")
    person.post("/accounts/api/token/refresh/", {"refresh": person.refresh})

    opened = rf'socket open",.*"user_id":{person.id},"room_id":{room_id}'
    closed = rf'socket closed",.*"user_id":{person.id},"room_id":{room_id},"code":4000,'
    log = own_server.log
    wait_for(lambda: re.search(closed, log.read_text()), 10, "the socket's end is logged")
    assert re.search(opened, log.read_text())
    for token in (person.access, person.refresh):
        assert token.rpartition(".")[2] not in log.read_text()
