"""The page in a real browser, with its real policy, against a real server.

Every complaint of the browser fails the test in which it was made: an error of a script, a
report of the policy, a request that failed or went to another host.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.servers import Server
from tests.talk import SECONDS

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
PATIENCE_MS = 3000 * SECONDS  # on a machine with much to do a browser waits for its turn

expect.set_options(timeout=PATIENCE_MS)


class Visit:
    """Somebody's browser with the page in it.

    Args:
        context: With cookies and storage of its own.
        url: Of the server.
        person: Who is logged in there, if anybody.
    """

    def __init__(self, context: BrowserContext, url: str, person: Person | None) -> None:
        self.context = context
        self.url = url
        self.person = person
        self.complaints: list[str] = []
        self.is_calm = True  # False: the network is being broken, so failed requests are no fault
        self.page = self.open_tab()

    def open_tab(self) -> Page:
        """Open one more tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", self._hear)
        page.on("request", self._watch)
        return page

    def _hear(self, message: Any) -> None:
        is_of_network = re.search("net::ERR|WebSocket connection|status of 5", message.text)
        if message.type == "error" and (self.is_calm or not is_of_network):
            self.complaints.append(f"console: {message.text}")

    def _watch(self, request: Any) -> None:
        asked = urlsplit(request.url)
        if asked.scheme in ("http", "ws") and asked.netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"asked another host: {request.url}")

    def go(self, path: str = "/") -> Page:
        """Go to an address of the page."""
        self.page.goto(self.url + path)
        return self.page

    def open_chat(self, name: str, path: str = "") -> Page:
        """Open a chat and wait until its history is there."""
        page = self.go(f"/chat/{quote(name, safe='')}{path}")
        page.locator(".composer__text").wait_for()
        return page

    def write(self, text: str) -> None:
        """Send a message in the chat that is open."""
        self.page.locator(".composer__text").fill(text)
        self.page.keyboard.press("Enter")

    def shown(self) -> list[str]:
        """Return the texts of the messages on the screen, from above."""
        bubbles = self.page.locator(".history .bubble__text")
        texts: list[str] = bubbles.evaluate_all(
            "all => all.map(each => [...each.childNodes].filter(n => !n.classList?.contains('meta'))"
            ".map(n => n.textContent).join('').trim())"
        )
        return texts

    def kept(self, store: str) -> list[Any]:
        """Return what a store of IndexedDB has: `outbox`, `drafts` or `kept`."""
        found: list[Any] = self.page.evaluate(
            """async (store) => {
                const result = (asked) => new Promise((resolve) => (asked.onsuccess = () => resolve(asked.result)));
                const database = await result(indexedDB.open("beseda"));
                const all = await result(database.transaction(store).objectStore(store).getAll());
                database.close();
                return all;
            }""",
            store,
        )
        return found

    def wait_for_kept(self, store: str, text: str) -> None:
        """Wait until a store of IndexedDB has something with this text."""
        while text not in json.dumps(self.kept(store), ensure_ascii=False, separators=(",", ":")):
            self.page.wait_for_timeout(20)

    def wait_for_text(self, text: str) -> None:
        """Wait until a message with this text stands on the screen."""
        self.page.locator(".history .bubble__text", has_text=text).first.wait_for()


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Any]:
    """Opens a browser; `visit(person, viewport=…, locale=…, color_scheme=…)`."""
    visits: list[Visit] = []
    with ExitStack() as stack:

        def visit(person: Person | None = None, **options: Any) -> Visit:
            options = {"viewport": DESK, "locale": "ru-RU"} | options
            url = options.pop("url", server.url)
            context = stack.enter_context(browser.new_context(**options))
            context.set_default_timeout(PATIENCE_MS)
            if person:
                let_in(context, url, person)
            visits.append(Visit(context, url, person))
            return visits[-1]

        yield visit
        for each in visits:
            assert each.complaints == []


def let_in(context: BrowserContext, url: str, person: Person) -> None:
    """Log somebody in without the form: the cookie comes as from the form."""
    credentials = {"username": person.username, "password": PASSWORD, "cookie": True}
    answer = context.request.post(f"{url}/accounts/api/token/", data=credentials)
    assert answer.ok, answer.text()
    context.add_init_script(
        f"""if (!localStorage.getItem('last')) {{
            localStorage.setItem('last', '{person.id}');
            localStorage.setItem('me', JSON.stringify({{id: {person.id}, username: '{person.username}', email: ''}}));
        }}"""
    )


@pytest.fixture
def ann(server: Server) -> Person:
    return make_person(server.url, new_name("ann"))


@pytest.fixture
def bob(server: Server) -> Person:
    return make_person(server.url, new_name("bob"))


@pytest.fixture(scope="module")
def js(browser: Browser, server: Server) -> Iterator[Any]:
    """Runs JavaScript with modules of the page: `js("({split}) => …", "text/links")`."""
    page = browser.new_page(locale="ru-RU", timezone_id="Europe/Moscow")
    page.goto(server.url)

    def run(function: str, *modules: str, argument: Any = None) -> Any:
        names = [f"js/{name}.js" for name in modules]
        return page.evaluate(
            f"""async ([names, argument]) => {{
                const {{take}} = await import(document.querySelector("script[type=module]").src);
                return ({function})(Object.assign({{}}, ...names.map(take)), argument);
            }}""",
            [names, argument],
        )

    yield run
    page.close()
