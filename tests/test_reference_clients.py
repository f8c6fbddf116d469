"""The clients in `clients/`, kept talking while the server under them is restarted."""

import asyncio
import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Page

from tests.factories import Person, make_person
from tests.servers import ROOT, Server
from tests.talk import messages_path

CLIENTS = ROOT / "clients"
MESSAGES = 60  # of each of the two
PAUSE_SECONDS = 0.04
DONE_SECONDS = 60

T = TypeVar("T")


def load_chat() -> ModuleType:
    """Import `clients/chat.py`, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("chat", CLIENTS / "chat.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["chat"] = module
    spec.loader.exec_module(module)
    return module


def run_aside(talk: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something asynchronous in another thread: the browser has the event loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(talk())).result()


class Pages(SimpleHTTPRequestHandler):
    """Serves `clients/` to a browser, as a site of one's own would."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    """The URL of a site that has `chat.js`."""
    handler = partial(Pages, directory=str(CLIENTS))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


class PythonSide:
    """Somebody who talks by `clients/chat.py`, in a thread of its own."""

    def __init__(self, person: Person, room: str) -> None:
        self.seen: list[dict[str, Any]] = []
        self.stored: list[dict[str, Any]] = []
        self._person, self._room = person, room
        self._thread = threading.Thread(target=lambda: asyncio.run(self._talk()))
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(DONE_SECONDS)
        assert not self._thread.is_alive()

    async def _token(self, _refused: bool) -> str:
        return self._person.access

    async def _talk(self) -> None:
        url = self._person.url.replace("http", "ws", 1)
        chat = load_chat().Chat(url, self._room, self._token, self.seen.append)
        running = asyncio.create_task(chat.run())
        try:
            async with asyncio.timeout(DONE_SECONDS):
                answers = []
                for number in range(MESSAGES):
                    answers.append(asyncio.create_task(chat.send(f"python {number}")))
                    await asyncio.sleep(PAUSE_SECONDS)
                self.stored = await asyncio.gather(*answers)
                while len(self.seen) < 2 * MESSAGES:
                    await asyncio.sleep(0.05)
        except BaseException as error:
            self.error = error
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


TALK = """
async ([url, room, token, count, pause]) => {
    const { Chat } = await import("/chat.js");
    window.seen = [];
    const chat = new Chat({ url, room, token: async () => token, onMessage: (m) => seen.push(m) });
    const answers = [];
    for (let number = 0; number < count; number += 1) {
        answers.push(chat.send(`browser ${number}`));
        await new Promise((done) => setTimeout(done, pause));
    }
    window.stored = await Promise.all(answers);
}
"""


def begin_in(page: Page, person: Person, room: str) -> None:
    """Let somebody talk by `clients/chat.js`."""
    arguments = [
        person.url.replace("http", "ws", 1),
        room,
        person.access,
        MESSAGES,
        PAUSE_SECONDS * 1000,
    ]
    page.evaluate(
        f"(a) => {{ ({TALK})(a).catch((e) => {{ window.failed = String(e); }}); }}", arguments
    )


def restart(server: Server) -> None:
    server.stop()
    server.start()


def renew_workers(server: Server) -> None:
    assert server.process
    server.process.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("break_", [renew_workers, restart])
def test_nothing_is_lost_or_doubled_for_clients_of_a_server_that_is(
    break_: Callable[[Server], None],
    postgresql_url: str,
    tmp_path: Path,
    site: str,
    open_tab: Any,
) -> None:
    with Server(tmp_path, {"DATABASE_URL": postgresql_url, "WEB_CONCURRENCY": "2"}) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)
        page = open_tab(site)
        page.set_default_timeout(DONE_SECONDS * 1000)

        python = PythonSide(ann, room["name"])
        python.start()
        begin_in(page, bob, room["name"])
        page.wait_for_function("() => window.seen?.length > 10")
        break_(server)
        page.wait_for_function(
            "(n) => window.failed || (window.stored && seen.length >= n)", arg=2 * MESSAGES
        )
        python.join()

        in_table = ann.get(messages_path(room), params={"limit": 1000}).json()
        seen_there = page.evaluate("seen")
        failed, stored_there = page.evaluate("[window.failed, window.stored]")

    assert (python.error, failed) == (None, None)
    assert sorted(each["content"] for each in in_table) == sorted(
        f"{who} {number}" for who in ("python", "browser") for number in range(MESSAGES)
    )
    assert python.seen == in_table
    assert seen_there == in_table
    assert [each["content"] for each in python.stored] == [f"python {n}" for n in range(MESSAGES)]
    assert [each["content"] for each in stored_there] == [f"browser {n}" for n in range(MESSAGES)]


def test_python_client_says_why_a_message_was_refused(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)["name"]

    async def talk() -> dict[str, Any]:
        chat = load_chat().Chat(
            server.ws_url, room, lambda _: asyncio.sleep(0, ann.access), lambda _: None
        )
        running = asyncio.create_task(chat.run())
        with pytest.raises(ValueError, match="пуст"):
            await asyncio.wait_for(chat.send("   "), DONE_SECONDS)
        stored: dict[str, Any] = await asyncio.wait_for(chat.send("well"), DONE_SECONDS)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return stored

    assert run_aside(talk)["content"] == "well"


@pytest.mark.parametrize(
    ("token", "room", "code", "reason"),
    [
        ("a bad token", "", 4401, "logged_out"),
        (None, "nobody_no-one", 4404, "no_room"),
    ],
)
def test_python_client_gives_up_where_trying_again_would_not_help(
    server: Server, token: str | None, room: str, code: int, reason: str
) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = room or ann.open_room(bob)["name"]
    asked: list[bool] = []

    async def get_token(refused: bool) -> str:
        asked.append(refused)
        return token or ann.access

    module = load_chat()

    async def talk() -> None:
        chat = module.Chat(server.ws_url, room, get_token, lambda _: None)
        await asyncio.wait_for(chat.run(), DONE_SECONDS)

    with pytest.raises(module.ChatOver) as over:
        run_aside(talk)

    assert (over.value.code, over.value.reason) == (code, reason)
    assert asked == ([False, True] if token else [False])


TOO_LONG = [70_000, 22_000, 10_001]  # characters; frames over 128 KiB, as each client writes them


def test_python_client_refuses_a_message_that_is_too_long_and_goes_on(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)["name"]

    async def talk() -> dict[str, Any]:
        chat = load_chat().Chat(
            server.ws_url, room, lambda _: asyncio.sleep(0, ann.access), lambda _: None
        )
        running = asyncio.create_task(chat.run())
        for length in TOO_LONG:
            with pytest.raises(ValueError, match="10,000"):
                await asyncio.wait_for(chat.send("ж" * length), DONE_SECONDS)
        stored: dict[str, Any] = await asyncio.wait_for(chat.send("💬" * 10_000), DONE_SECONDS)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return stored

    assert run_aside(talk)["content"] == "💬" * 10_000


def test_what_waits_in_the_python_client_is_told_that_the_chat_is_over(server: Server) -> None:
    module = load_chat()

    async def talk() -> None:
        chat = module.Chat(server.ws_url, "a_b", lambda _: asyncio.sleep(0), lambda _: None)
        waiting = asyncio.create_task(chat.send("never stored"))
        with pytest.raises(module.ChatOver):
            await asyncio.wait_for(chat.run(), DONE_SECONDS)
        with pytest.raises(module.ChatOver):
            await asyncio.wait_for(waiting, DONE_SECONDS)

    run_aside(talk)


def test_browser_client_refuses_a_message_that_is_too_long_and_goes_on(
    server: Server, site: str, open_tab: Any
) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)["name"]
    page = open_tab(site)

    outcomes = page.evaluate(
        """async ([url, room, token, lengths]) => {
            const { Chat } = await import("/chat.js");
            const chat = new Chat({ url, room, token: async () => token, onMessage: () => {} });
            const texts = [...lengths.map((length) => "ж".repeat(length)), "💬".repeat(10000)];
            const sent = await Promise.allSettled(texts.map((text) => chat.send(text)));
            chat.close();
            return sent.map(({ reason, value }) => reason?.message ?? value.content.length);
        }""",
        [server.ws_url, room, ann.access, TOO_LONG],
    )

    refused = "A message has at most 10000 characters."
    assert outcomes == [refused] * 3 + [20_000]  # of UTF-16


def end_session(person: Person) -> None:
    assert person.post("/accounts/api/token/blacklist/", {"refresh": person.refresh}).is_success


def test_python_client_says_once_that_the_session_was_ended(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)["name"]
    module, states = load_chat(), []
    asked = 0

    async def refresh(_refused: bool) -> str | None:
        nonlocal asked
        asked += 1
        answer = await asyncio.to_thread(
            ann.post, "/accounts/api/token/refresh/", {"refresh": ann.refresh}
        )
        return answer.json()["access"] if answer.is_success else None

    async def talk() -> Any:
        chat = module.Chat(server.ws_url, room, refresh, lambda _: None, on_state=states.append)
        running = asyncio.create_task(chat.run())
        await asyncio.wait_for(chat.send("here"), DONE_SECONDS)
        await asyncio.to_thread(end_session, ann)
        with pytest.raises(module.ChatOver) as over:
            await asyncio.wait_for(running, DONE_SECONDS)
        with pytest.raises(module.ChatOver):
            await asyncio.wait_for(chat.send("too late"), DONE_SECONDS)
        return over.value

    over = run_aside(talk)

    assert (over.code, over.reason) == (4401, "logged_out")
    assert states == ["connected", "reconnecting"]
    assert asked == 2


def test_browser_client_says_once_that_the_session_was_ended(
    tmp_path: Path, site: str, open_tab: Any
) -> None:
    with Server(tmp_path, {"CORS_ORIGINS": site.rstrip("/")}) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)["name"]
        page = open_tab(site)
        page.set_default_timeout(DONE_SECONDS * 1000)

        page.evaluate(
            """async ([url, server, room, refresh]) => {
                const { Chat, refreshing } = await import("/chat.js");
                window.said = [];
                window.chat = new Chat({
                    url, room, token: refreshing(server, refresh),
                    onMessage: (message) => said.push(message.content),
                    onState: (state) => said.push(state),
                    onOver: (code, reason) => said.push(code, reason),
                });
                await chat.send("here");
            }""",
            [server.ws_url, server.url, room, ann.refresh],
        )
        end_session(ann)
        page.wait_for_function("said.includes('logged_out')")
        refused = page.evaluate("chat.send('too late').catch((error) => error.reason)")
        said = page.evaluate("said")

    assert said == ["connected", "here", "reconnecting", 4401, "logged_out"]
    assert refused == "logged_out"


def test_clients_say_when_they_reconnect_and_ask_again_for_a_token_that_cannot_be_had(
    tmp_path: Path, site: str, open_tab: Any
) -> None:
    with Server(tmp_path, {"CORS_ORIGINS": site.rstrip("/")}) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)["name"]
        page = open_tab(site)
        page.set_default_timeout(DONE_SECONDS * 1000)
        page.evaluate(
            """async ([url, server, room, refresh]) => {
                const { Chat, refreshing } = await import("/chat.js");
                window.said = [];
                window.chat = new Chat({
                    url, room, token: refreshing(server, refresh), onMessage: () => {},
                    onState: (state) => said.push(state),
                    onOver: (code, reason) => said.push(code, reason),
                });
                await chat.send("here");
            }""",
            [server.ws_url, server.url, room, ann.refresh],
        )
        server.stop()
        page.wait_for_function("said.length == 2")
        page.evaluate("() => { window.sent = chat.send('meanwhile'); }")
        page.wait_for_timeout(1500)  # at least one attempt for a token meets nobody
        server.start()
        stored = page.evaluate("sent")
        said = page.evaluate("said")
        server.stop()
        never_stored = page.evaluate(
            """() => {
                const sent = chat.send("never stored");
                chat.close();
                return sent.catch((error) => error.reason);
            }"""
        )
        over = page.evaluate("said.slice(-2)")

    assert never_stored == "closed"
    assert stored["content"] == "meanwhile"
    assert said == ["connected", "reconnecting", "connected"]
    assert over == [1000, "closed"]
