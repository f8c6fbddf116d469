"""SIGHUP under load: no request is refused, no message is lost, and delivery goes on at once.

200 requests a second and 100 sockets, while workers are replaced ten times. Half of the requests
come on connections of their own, half on connections that are kept, as those of a proxy are.
"""

import asyncio
import itertools
import json
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.database.revisions import heads
from tests.delivery.faults import workers
from tests.delivery.load import list_messages
from tests.factories import Person, make_person
from tests.proxies import ProcfileServer, clone
from tests.servers import Server
from tests.test_gunicorn import HeldServer, workers_of

pytestmark = [
    pytest.mark.server,
    pytest.mark.long,
    pytest.mark.alone,
    # asyncio's own, where the end of a test cancels somebody who is just connecting.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RELOADS = 10
REQUESTS_PER_SECOND = 200
KEPT = 20  # connections that are kept
ROOMS = 10
SOCKETS = 100
LIVE_SECONDS = 1.0  # the promise: so long until everybody hears what was said during a reload
PATIENCE_SECONDS = 40


class Reader:
    """A connection that is kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request on the kept connection; return status and body of the response.

        Raises:
            OSError, asyncio.IncompleteReadError: Nobody answered.
        """
        if self._ends is None or self._ends[0].at_eof():
            await self.close()
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._ends
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
        content = await reader.readexactly(length)
        if "connection: close" in answer:
            await self.close()
        return int(answer.split(" ")[1]), content

    async def close(self) -> None:
        if self._ends is not None:
            self._ends[1].close()
            self._ends = None


class Traffic:
    """Requests to servers and sockets with them in turn, and what became of them.

    Attributes:
        outcomes: How many requests and handshakes had which status or error.
        farewells: How many sockets were closed with which code.
        posted: When each message was answered with 201, by its id.
        heard_at: When each socket heard it, by its id.
        heard: The ids that came to each socket, in their order.
    """

    def __init__(self, *servers: Server) -> None:
        self._servers = servers
        people = [make_person(servers[0].url) for _ in range(5)]
        pairs = list(itertools.combinations(people, 2))[:ROOMS]
        self.rooms = [(one, other, one.open_room(other)["name"]) for one, other in pairs]
        self.outcomes: Counter[str] = Counter()
        self.farewells: Counter[int | None] = Counter()
        self.posted: dict[int, float] = {}
        self.heard_at: defaultdict[int, list[float]] = defaultdict(list)
        self.heard: list[tuple[str, list[int]]] = []
        self.open = 0
        self._numbers = itertools.count()

    # Requests

    def _next(self, *, is_kept: bool) -> tuple[str, bytes]:
        number = next(self._numbers)
        person, _, room = self.rooms[number % ROOMS]
        path = f"/messenger/api/chatrooms/{quote(room)}/messages/"
        body = b""
        match number % 4:
            case 0:
                line = "GET /readyz"
            case 1:
                line, body = (
                    f"POST {path}",
                    json.dumps({"content": "x", "client_id": f"{number}"}).encode(),
                )
            case _:
                line = f"GET {path}?limit=5"
        head = (
            f"{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {person.access}\r\n"
            f"Connection: {'keep-alive' if is_kept else 'close'}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head, body

    async def _ask(self, reader: Reader, *, is_kept: bool) -> None:
        head, body = self._next(is_kept=is_kept)
        line = head.partition(" HTTP")[0].partition("?")[0]
        is_answered = False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                status, answer = await reader.ask(head, body)
            is_answered = True
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.outcomes[f"{line}: {error!r}, {'kept' if is_kept else 'new'} connection"] += 1
            return
        finally:
            if not (is_kept and is_answered):
                await reader.close()
        if status in (200, 201):
            self.outcomes["ok"] += 1
        else:
            self.outcomes[f"{line}: {status} {answer.decode()}"] += 1
        if status == 201:
            self.posted[json.loads(answer)["id"]] = time.monotonic()

    async def ask_anew(self) -> None:
        """Make requests on connections of their own, at an even pace."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as running:
            for number in itertools.count():
                due = began + number / (REQUESTS_PER_SECOND / 2)
                await asyncio.sleep(max(due - time.monotonic(), 0))
                server = self._servers[number % len(self._servers)]
                running.create_task(self._ask(Reader(server.port), is_kept=False))

    async def ask_again(self, server: Server) -> None:
        """Make requests on one connection, one after the other."""
        reader = Reader(server.port)
        try:
            while True:
                began = time.monotonic()
                await self._ask(reader, is_kept=True)
                pause = KEPT / (REQUESTS_PER_SECOND / 2) - (time.monotonic() - began)
                await asyncio.sleep(max(pause, 0))
        finally:
            await reader.close()

    # Sockets

    async def hear(self, server: Server, person: Person, room: str) -> None:
        """Hear everything, and come back with `?after` as clients do."""
        ids: list[int] = []
        self.heard.append((room, ids))
        while True:
            url = f"{server.ws_url}/messenger/ws/ws/chat/{quote(room)}/?after={(ids or [0])[-1]}"
            try:
                socket = await connect(
                    url, additional_headers=person.bearer, compression=None, proxy=None
                )
            except (OSError, InvalidStatus, TimeoutError) as error:
                self.outcomes[f"handshake: {error!r}"] += 1
                await asyncio.sleep(0.1)
                continue
            self.open += 1
            try:
                while True:
                    message = json.loads(await socket.recv())["id"]
                    self.heard_at[message].append(time.monotonic())
                    ids.append(message)
            except ConnectionClosed:
                self.farewells[socket.close_code] += 1
            finally:
                self.open -= 1
                await socket.close()

    def start(self) -> list[asyncio.Task[None]]:
        """Let all begin."""
        servers = itertools.cycle(self._servers)
        listeners = [
            self.hear(next(servers), person, room)
            for one, other, room in self.rooms
            for person in (one, other)
            for _ in range(SOCKETS // ROOMS // 2)
        ]
        asking = [self.ask_anew(), *(self.ask_again(next(servers)) for _ in range(KEPT))]
        return [asyncio.create_task(each) for each in (*listeners, *asking)]

    def worst_delay(self, since: float, until: float) -> float:
        """Return how long what was posted in a time took to the last who heard it."""
        ids = [each for each, at in self.posted.items() if since <= at < until]
        assert ids
        return max(max(self.heard_at[each]) - self.posted[each] for each in ids)


async def until(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One worker on SQLite, two on PostgreSQL."""
    settings = {}
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        # Three generations of workers at once have to fit into the connections of the server.
        settings = {"DATABASE_URL": url, "WEB_CONCURRENCY": "2", "DATABASE_POOL_SIZE": "4"}
    with Server(tmp_path, settings) as server:
        yield server


def test_ten_reloads_under_load_refuse_nobody_and_lose_nothing(server: Server) -> None:
    traffic = Traffic(server)

    async def scenario() -> list[float]:
        tasks = traffic.start()
        await until(lambda: traffic.open == SOCKETS, "not everybody is there")
        worst = []
        for _ in range(RELOADS):
            began, before = time.monotonic(), set(workers(server))
            assert server.process
            server.process.send_signal(signal.SIGHUP)
            await until(lambda old=before: not old & set(workers(server)), "old workers stay")
            await until(lambda: traffic.open == SOCKETS, "not everybody came back")
            await asyncio.sleep(1)
            worst.append((began, time.monotonic()))
        await asyncio.sleep(1)
        await end(tasks[SOCKETS:])  # nothing more is said
        last = max(traffic.posted)
        await until(lambda: len(traffic.heard_at[last]) == SOCKETS // ROOMS, "not heard by all")
        await asyncio.sleep(1)
        await end(tasks)
        return [traffic.worst_delay(*each) for each in worst]

    delays = asyncio.run(scenario())

    print(f"{sum(traffic.outcomes.values())} requests, {len(traffic.posted)} messages,")
    print(f"heard by all after {', '.join(f'{each:.2f}' for each in delays)} s at worst")
    check_nothing_was_lost(traffic)
    assert traffic.farewells[1012] >= RELOADS * SOCKETS
    assert median(delays) < LIVE_SECONDS, delays
    assert max(delays) < 10, delays
    assert "Traceback" not in server.log.read_text()


def test_several_reloads_at_once_are_one_after_the_other(server: Server) -> None:
    traffic = Traffic(server)

    async def scenario() -> None:
        tasks = traffic.start()
        await until(lambda: traffic.open == SOCKETS, "not everybody is there")
        before = set(workers(server))
        for _ in range(3):
            assert server.process
            server.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.1)
        expected = len(before)
        await until(
            lambda: not before & set(workers(server)) and len(workers(server)) == expected,
            "old workers stay",
        )
        await until(lambda: traffic.open == SOCKETS, "not everybody came back")
        await end(tasks)

    asyncio.run(scenario())

    assert traffic.outcomes.keys() == {"ok"}, traffic.outcomes
    assert traffic.farewells.keys() == {1012}


def check_nothing_was_lost(traffic: Traffic) -> None:
    assert traffic.outcomes.keys() == {"ok"}, traffic.outcomes
    assert traffic.farewells.keys() == {1012}
    for room, ids in traffic.heard:
        owner = next(one for one, _, name in traffic.rooms if name == room)
        assert ids == [each.id for each in list_messages(owner, room)]


NEXT_RELEASE = """
revision = "9999"
down_revision = {head!r}


def upgrade():
    from alembic import op

    op.execute("CREATE TABLE of_the_next_release (id integer)")


def downgrade():
    raise NotImplementedError
"""


def test_rolling_upgrade_and_rollback_by_the_manual_lose_nothing(
    postgresql_url: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": postgresql_url, "JWT_SECRET_KEY": "k" * 32}
    machines = [ProcfileServer(clone(tmp_path / name), settings) for name in "ab"]
    migration = Path("migrations", "versions", "9999_next.py")

    def upgrade() -> None:
        for machine in machines:
            (machine.home / migration).write_text(NEXT_RELEASE.format(head=min(heads())))

    def go_back() -> None:
        for machine in machines:
            (machine.home / migration).unlink()

    async def renew(machine: Server) -> None:
        # As `systemctl reload` does: migrate, then SIGHUP.
        await asyncio.to_thread(machine.migrate)
        before = set(workers(machine))
        assert machine.process
        machine.process.send_signal(signal.SIGHUP)
        await until(lambda: not before & set(workers(machine)), "old workers stay")

    async def scenario(traffic: Traffic) -> None:
        tasks = traffic.start()
        await until(lambda: traffic.open == SOCKETS, "not everybody is there")
        for change in (upgrade, go_back):
            change()
            for machine in machines:
                await renew(machine)
                await until(lambda: traffic.open == SOCKETS, "not everybody came back")
        await end(tasks[SOCKETS:])  # nothing more is said
        last = max(traffic.posted)
        await until(lambda: len(traffic.heard_at[last]) == SOCKETS // ROOMS, "not heard by all")
        await asyncio.sleep(1)
        await end(tasks)

    with machines[0], machines[1]:
        traffic = Traffic(*machines)
        asyncio.run(scenario(traffic))

        check_nothing_was_lost(traffic)
        for machine in machines:
            assert "Traceback" not in machine.log.read_text()


def test_sigterm_during_a_reload_ends_all_workers_at_once(tmp_path: Path) -> None:
    with HeldServer(tmp_path) as server:
        assert server.process
        traffic = Traffic(server)
        person, _, room = traffic.rooms[0]
        before = workers_of(server)

        async def scenario() -> tuple[int | None, float]:
            url = f"{server.ws_url}/messenger/ws/ws/chat/{quote(room)}/"
            async with connect(url, additional_headers=person.bearer, proxy=None) as socket:
                assert server.process
                server.hold.touch()
                server.process.send_signal(signal.SIGHUP)
                await until(lambda: bool(workers_of(server) - before), "no new worker")
                await asyncio.sleep(1.5)  # the old worker has been told to leave
                assert before <= workers_of(server)
                began = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                server.hold.unlink()
                with suppress(ConnectionClosed):
                    await socket.recv()
                code = socket.close_code
                await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS)
                return code, time.monotonic() - began

        code, seconds = asyncio.run(scenario())
        server.process = None

    assert code == 1012
    assert seconds < 5
    assert "Traceback" not in server.log.read_text()


def test_what_every_start_tells_is_told_once(postgresql_url: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "DATABASE_URL": postgresql_url,
        "WEB_CONCURRENCY": "2",
        "DATABASE_POOL_SIZE": "999",
    }

    def told(words: str) -> int:
        return server.log.read_text().count(words)

    async def reload() -> None:
        before = set(workers(server))
        assert server.process
        server.process.send_signal(signal.SIGHUP)
        await until(lambda: not before & set(workers(server)), "old workers stay")

    with Server(tmp_path, settings) as server:
        asyncio.run(until(lambda: told("There is no administrator yet") > 0, "no link"))
        asyncio.run(until(lambda: told("2 workers may open 2002 connections") > 0, "no warning"))
        for _ in range(2):
            asyncio.run(reload())
    assert told("There is no administrator yet") == 1
    assert told("2 workers may open 2002 connections") == 1
