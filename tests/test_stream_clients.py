"""`clients/stream.js` and `stream.py` hold what the server holds, while it is restarted under them."""

import asyncio
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page
from stream import Stream

from tests.factories import Person, make_person
from tests.servers import ROOT, Server

CLIENTS = ROOT / "clients"
SECONDS = 60
STEPS = 120
HERS_ALONE = {"as_of", "asOf", "messages"}  # what a client notes beside a chat

pytestmark = pytest.mark.server


class Pages(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    """The URL of a site that has `stream.js`."""
    handler = partial(Pages, directory=str(CLIENTS))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


class PythonSide:
    """Somebody's `clients/stream.py`, in a thread of its own."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.stream: Any = None
        self.states: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._started.wait(SECONDS)

    async def _run(self) -> None:
        async def token(_refused: bool) -> str:
            return self.person.access

        self.stream = Stream(self.person.url, token, on_state=self.states.append)
        self._running = asyncio.ensure_future(self.stream.run())
        self._started.set()
        with suppress(asyncio.CancelledError):
            await self._running

    def send(self, room: str, text: str) -> None:
        """Send a message, whether there is a connection or not."""

        async def send() -> None:
            self.sent.append(await self.stream.send(room, text))

        asyncio.run_coroutine_threadsafe(send(), self._loop)

    def chats(self) -> list[dict[str, Any]]:
        return [dict(chat) for chat in self.stream.chats.values()]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._running.cancel)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        self._loop.close()


class BrowserSide:
    """Somebody's `clients/stream.js`, in a real browser."""

    def __init__(self, person: Person, page: Page) -> None:
        self.person, self.page = person, page
        page.set_default_timeout(SECONDS * 1000)
        page.evaluate(
            """async ([server, token]) => {
                const { Stream } = await import("/stream.js");
                window.states = [];
                window.sent = [];
                window.stream = new Stream({
                    server, token: async () => token, onState: (state) => states.push(state),
                });
            }""",
            [person.url, person.access],
        )

    def send(self, room: str, text: str) -> None:
        self.page.evaluate(
            "([room, text]) => { stream.send(room, text).then((it) => sent.push(it)); }",
            [room, text],
        )

    @property
    def sent(self) -> list[dict[str, Any]]:
        return self.page.evaluate("sent")

    @property
    def states(self) -> list[str]:
        return self.page.evaluate("states")

    def chats(self) -> list[dict[str, Any]]:
        # Messages by their ids as objects, as Python has them.
        return self.page.evaluate(
            "[...stream.chats.values()].map((it) => ({...it, messages: [...it.messages.values()]}))"
        )

    def stop(self) -> None:
        self.page.evaluate("stream.close()")


def theirs(person: Person) -> list[dict[str, Any]]:
    """Return the chats of somebody as the server has them."""
    return person.get("/messenger/api/chats/").json()


def shown(side: PythonSide | BrowserSide) -> list[dict[str, Any]]:
    """Return the chats of a client in the form of the server's."""
    chats = [{k: v for k, v in chat.items() if k not in HERS_ALONE} for chat in side.chats()]
    return sorted(chats, key=lambda chat: chat["id"])


def wait_until_same(side: PythonSide | BrowserSide, seconds: float = SECONDS) -> None:
    """Wait until a client has what the server has."""
    deadline = time.monotonic() + seconds
    while shown(side) != theirs(side.person):
        if time.monotonic() > deadline:
            assert shown(side) == theirs(side.person)
        time.sleep(0.2)


def do_something(rng: random.Random, people: list[Person], rooms: list[str]) -> None:
    """Let somebody do something in one of their rooms, as far as the server is there."""
    person, room = rng.choice(people), rng.choice(rooms)
    path = f"/messenger/api/chatrooms/{quote(room, safe='')}"
    with suppress(httpx.TransportError):
        newest = person.get(f"{path}/messages/", params={"limit": 6})
        ids = [each["id"] for each in newest.json()] if newest.status_code == 200 else []
        match rng.randrange(8):
            case 0 if ids:
                text = {"content": f"edited {rng.random()}"}
                person.http.patch(f"{path}/messages/{rng.choice(ids)}/", json=text)
            case 1 | 2 if ids:
                person.http.delete(f"{path}/messages/{rng.choice(ids)}/")
            case 3 if ids:
                person.post(f"{path}/read/", {"read_id": rng.choice(ids)})
            case 4 if room.startswith("g~"):
                person.http.patch(f"{path}/", json={"title": f"Title {rng.random()}"})
            case 5 if room.startswith("g~"):
                other = rng.choice(people[1:]).username
                if rng.random() < 0.5:
                    people[0].http.delete(f"{path}/members/{other}/")
                else:
                    people[0].post(f"{path}/members/", {"username": other})
            case 6:
                person.http.patch(f"{path}/", json={"muted": rng.random() < 0.5})
            case _:
                person.post(f"{path}/messages/", {"content": f"text {rng.random()}"})


def restart(server: Server) -> None:
    server.stop()
    server.start()


def renew_workers(server: Server) -> None:
    assert server.process
    gone = server.log.read_text().count("Worker exiting")
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + SECONDS
    while server.log.read_text().count("Worker exiting") < gone + 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["python", "browser"])
@pytest.mark.parametrize("break_", [renew_workers, restart])
def test_client_holds_what_the_server_holds_after_breaks(
    kind: str,
    break_: Callable[[Server], None],
    postgresql_url: str,
    tmp_path: Path,
    site: str,
    request: pytest.FixtureRequest,
) -> None:
    rng = random.Random(7)
    settings = {
        "DATABASE_URL": postgresql_url,
        "WEB_CONCURRENCY": "2",
        "CORS_ORIGINS": site,
    }
    with Server(tmp_path, settings) as server:
        people = [make_person(server.url) for _ in range(3)]
        ann, bob, cy = people
        group = {"title": "Team", "members": [bob.username, cy.username]}
        rooms = [
            ann.open_room(bob)["name"],
            ann.open_room(cy)["name"],
            ann.post("/messenger/api/groups/", group).json()["name"],
        ]
        for _ in range(STEPS // 4):
            do_something(rng, people, rooms)
        side = (
            PythonSide(bob)
            if kind == "python"
            else BrowserSide(bob, request.getfixturevalue("open_tab")(site))
        )
        try:
            wait_until_same(side)
            for part in range(3):
                for step in range(STEPS // 3):
                    do_something(rng, people, rooms)
                    if step % 8 == 0:
                        side.send(rooms[0], f"mine {part} {step}")
                break_(server)
                for step in range(8):  # some of it meets nobody
                    side.send(rooms[0], f"meanwhile {part} {step}")
                server.wait_ready()
                wait_until_same(side)
            expected = 3 * (len(range(0, STEPS // 3, 8)) + 8)
            deadline = time.monotonic() + SECONDS
            while len(side.sent) < expected and time.monotonic() < deadline:
                time.sleep(0.2)
            sent = side.sent
            states = list(side.states)
        finally:
            side.stop()

        # Each message that was sent is stored once.
        contents = [each["content"] for each in sent]
        assert len(set(contents)) == len(contents) == expected
        assert len({each["id"] for each in sent}) == expected
        assert states.count("connected") >= 2


@pytest.mark.parametrize("kind", ["python", "browser"])
def test_client_that_was_away_for_long_loads_the_chats_again(
    kind: str, tmp_path: Path, site: str, request: pytest.FixtureRequest, monkeypatch: Any
) -> None:
    with Server(tmp_path, {"CORS_ORIGINS": site}) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)["name"]
        side = (
            PythonSide(bob)
            if kind == "python"
            else BrowserSide(bob, request.getfixturevalue("open_tab")(site))
        )
        try:
            wait_until_same(side)
            # The database of another life: a cursor of this one means nothing there.
            server.stop()
            change_epoch(tmp_path)
            server.start()
            ann.post(
                f"/messenger/api/chatrooms/{quote(room, safe='')}/messages/", {"content": "Hi"}
            )
            wait_until_same(side)
            side.send(room, "Back again")
            wait_until_same(side)
            assert shown(side)[0]["last_message"]["content"] in ("Hi", "Back again")
        finally:
            side.stop()


def change_epoch(folder: Path) -> None:
    with sqlite3.connect(folder / "beseda.db") as connection:
        connection.execute("UPDATE installation SET epoch = 'another life'")
