"""The page at `/api/docs/`: a real browser shows all there is, and asks nobody else for it."""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.factories import make_person, new_name
from tests.openapi import websocket_page
from tests.openapi.documented import Document
from tests.servers import Server
from tests.talk import SECONDS

PAGE = "/api/docs/"
SOCKETS = f"{PAGE}websocket/"
PARTS = ["", "start.js", "swagger-ui.css", "swagger-ui-bundle.js", "websocket/", "reference.css"]


class Tab:
    """The page, open, with whom it has asked and what it complained of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url + PAGE)
        page.locator(".opblock").first.wait_for()


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Tab]:
    page = browser.new_page()
    page.set_default_timeout(SECONDS * 1000)
    yield Tab(page, server.url)
    page.close()


def test_shows_every_operation_and_asks_nobody_else(
    tab: Tab, server: Server, document: Document
) -> None:
    shown = {each.get_attribute("id") for each in tab.page.locator(".opblock").all()}

    assert shown == {
        f"operations-{operation.said['tags'][0]}-{name}"
        for name, operation in document.operations.items()
    }
    hosts = {urlsplit(url).netloc for url in tab.asked if not url.startswith("data:")}
    assert hosts == {urlsplit(server.url).netloc}
    assert tab.complaints == []  # of its Content-Security-Policy, above all


def test_lets_somebody_try_with_a_token(tab: Tab, server: Server) -> None:
    person = make_person(server.url, new_name())
    operation = tab.page.locator("#operations-profiles-show_profile")

    tab.page.click("button.authorize")
    tab.page.fill(".auth-container input", person.access)
    tab.page.click(".auth-btn-wrapper button[type=submit]")
    tab.page.click(".btn-done")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".try-out__btn").click()
    operation.locator(".execute").click()
    answered = operation.locator(".live-responses-table .response").first

    assert answered.locator(".response-col_status").inner_text().startswith("200")
    assert person.username in answered.inner_text()
    assert tab.complaints == []


@pytest.mark.parametrize("part", PARTS)
def test_nothing_on_it_runs_that_is_not_ours(server: Server, part: str) -> None:
    answer = httpx.get(server.url + PAGE + part)

    assert answer.status_code == 200
    rules = dict(
        each.split(maxsplit=1) for each in answer.headers["Content-Security-Policy"].split(";")
    )
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("part", PARTS)
def test_unchanged_response_is_not_sent_again(server: Server, part: str) -> None:
    tag = httpx.get(server.url + PAGE + part).headers["ETag"]

    again = httpx.get(server.url + PAGE + part, headers={"If-None-Match": tag})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "../document.py", "%2e%2e/routes.py", "x"])
def test_serves_nothing_but_its_parts(server: Server, name: str) -> None:
    assert httpx.get(server.url + PAGE + name).status_code == 404


# The page about sockets


def test_page_about_sockets_is_that_of_the_docs() -> None:
    assert websocket_page.PAGE.read_text() == websocket_page.render(), "run: make reference"


def test_pages_lead_to_each_other_and_to_what_is_there(server: Server) -> None:
    text = websocket_page.render()
    found = re.findall(r'href="([^"]+)"', text)

    assert {SOCKETS, PAGE, "/api/openapi.json"} <= set(found)
    for link in found:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in text, link
        elif link != "data:,":
            assert httpx.get(server.url + link).status_code == 200, link
    assert f'href="{SOCKETS}"' in httpx.get(server.url + PAGE).text


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("path", [PAGE, SOCKETS])
def test_page_fits_every_screen_and_follows_its_colours(
    browser: Browser, server: Server, path: str, colours: Any, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(server.url + path)
    page.locator("main h1, .opblock").first.wait_for(timeout=SECONDS * 1000)

    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(map(int, re.findall(r"\d+", ground)[:3]))
    assert (shade > 600) == (colours == "light"), ground
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    if pictures := os.environ.get("PICTURES"):
        name = f"{path.strip('/').replace('/', '-')}-{width}-{colours}.png"
        page.screenshot(path=f"{pictures}/{name}", full_page=path == SOCKETS)
    page.close()
