"""The document's one line of JavaScript, run as printed by a real browser, Chromium."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.servers import ROOT, Server
from tests.shapes import check_shape
from tests.talk import chat_path, messages_path

MESSAGE = {"id": 1, "user": "user1", "content": "Привет!", "timestamp": "2023-12-01T10:00:00Z"}

LOG_IN = """
async ([username, password]) => (await fetch("/accounts/api/token/", {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({username, password}),
})).status
"""
# What a page of 2024 does: one socket for a room, and every frame goes to the screen.
OPEN = """
(url) => new Promise((resolve) => {
    window.frames_ = [];
    window.goodbye = null;
    window.ws = new WebSocket(url);
    ws.onmessage = (event) => frames_.push(JSON.parse(event.data));
    ws.onclose = (event) => { window.goodbye = {code: event.code, reason: event.reason}; };
    ws.onopen = () => resolve(ws.extensions);
    ws.onerror = () => resolve("error");
})
"""


@pytest.fixture
def pair(server: Server) -> Iterator[tuple[Person, Person, dict[str, Any]]]:
    """Two people and their room."""
    ann, bob = make_person(server.url, new_name("ann")), make_person(server.url, new_name("bob"))
    yield ann, bob, ann.open_room(bob)
    for person in (ann, bob):
        person.http.close()


def log_in(page: Page, person: Person) -> None:
    """Log in from a page, which leaves the cookie with the browser."""
    assert page.evaluate(LOG_IN, [person.username, PASSWORD]) == 200


def screen_of(page: Page, frames: int) -> list[dict[str, Any]]:
    """Return what a page shows, as soon as it shows so many frames."""
    page.wait_for_function("(frames) => frames_.length >= frames", arg=frames)
    shown: list[dict[str, Any]] = page.evaluate("frames_")
    return shown


def closed(page: Page) -> dict[str, Any]:
    """Return the code and the reason that a page's socket was closed with."""
    page.wait_for_function("() => goodbye")
    found: dict[str, Any] = page.evaluate("goodbye")
    return found


def test_two_tabs_see_each_message_once(
    server: Server, open_tab: Any, pair: tuple[Person, Person, dict[str, Any]]
) -> None:
    ann, bob, room = pair
    tabs = open_tab(f"{server.url}/healthz"), open_tab(f"{server.url}/healthz")
    for tab, person in zip(tabs, (ann, bob), strict=True):
        log_in(tab, person)
        assert tab.evaluate(OPEN, server.ws_url + chat_path(room["name"])) == ""  # no extension

    tabs[0].evaluate("""ws.send(JSON.stringify({message: "Привет!"}))""")
    screen_of(tabs[1], 1)
    tabs[1].evaluate("""ws.send(JSON.stringify({message: "И тебе 😀"}))""")
    screen_of(tabs[0], 2)
    ann.post(messages_path(room), {"content": "end"})
    screens = [screen_of(tab, 3) for tab in tabs]

    check_shape(screens[0], [MESSAGE])
    assert screens[0] == screens[1]
    assert [(each["user"], each["content"]) for each in screens[0]] == [
        (ann.username, "Привет!"),
        (bob.username, "И тебе 😀"),
        (ann.username, "end"),
    ]


def test_example_of_the_readme_prints_a_message_in_both_tabs(
    server: Server, open_tab: Any, pair: tuple[Person, Person, dict[str, Any]]
) -> None:
    ann, _, room = pair
    readme = (ROOT / "README.md").read_text()
    (pasted,) = re.findall(r"```js\n(.*?)```", readme, re.S)
    (said,) = re.findall(r"Then `(ws\.send\(.*?\);?)` in one of them", readme)
    for printed, here in (
        ("127.0.0.1:8000", f"127.0.0.1:{server.port}"),
        ("user1_user2", room["name"]),
        ('"user1"', json.dumps(ann.username)),
        ('"yourpassword"', json.dumps(PASSWORD)),
    ):
        assert printed in pasted
        pasted = pasted.replace(printed, here)
    tabs = open_tab(f"{server.url}/healthz"), open_tab(f"{server.url}/healthz")
    for tab in tabs:
        # A console keeps what is declared in it, and a script waits as long as it takes.
        tab.evaluate(f"async () => {{ {pasted} window.ws = ws; }}")
        tab.wait_for_function("() => ws.readyState === 1")

    with tabs[0].expect_console_message() as first, tabs[1].expect_console_message() as second:
        tabs[0].evaluate(said)

    for printed in (first.value, second.value):
        assert printed.args[0].json_value()["content"] == "Привет!"


def test_javascript_can_read_why_it_was_not_let_in(
    server: Server, open_tab: Any, pair: tuple[Person, Person, dict[str, Any]]
) -> None:
    ann, _, room = pair
    tab = open_tab(f"{server.url}/healthz")

    tab.evaluate(OPEN, server.ws_url + chat_path(room["name"]))
    without_cookie = closed(tab)
    log_in(tab, ann)
    tab.evaluate(OPEN, server.ws_url + chat_path(new_name("no_room")))
    without_room = closed(tab)

    assert (without_cookie["code"], without_room["code"]) == (4401, 4404)
    assert without_cookie["reason"]
    assert without_room["reason"]


def test_the_cookie_is_out_of_reach_of_scripts(
    server: Server, open_tab: Any, pair: tuple[Person, Person, dict[str, Any]]
) -> None:
    tab = open_tab(f"{server.url}/healthz")

    log_in(tab, pair[0])

    assert tab.evaluate("document.cookie") == ""
    (cookie,) = tab.context.cookies(server.url + "/messenger/ws/ws/chat/x/")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


class EmptyPage(BaseHTTPRequestHandler):
    """Serves nothing, at any path, to whoever asks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other_site() -> Iterator[str]:
    """The URL of a page that is not of our server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as httpd:
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


def test_a_page_of_another_origin_cannot_speak_in_its_readers_name(
    server: Server, open_tab: Any, other_site: str, pair: tuple[Person, Person, dict[str, Any]]
) -> None:
    # Another port is another origin, but the same site: the browser does send the cookie.
    ann, _, room = pair
    tab = open_tab(f"{server.url}/healthz")
    log_in(tab, ann)

    tab.goto(other_site)
    tab.evaluate(OPEN, server.ws_url + chat_path(room["name"]))

    assert closed(tab)["code"] == 4401
