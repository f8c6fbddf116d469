"""Without a network: what is written waits, what was seen is there, nothing is lost or doubled."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.factories import Person
from tests.web.conftest import Visit

# As behind a proxy that knows nothing of upgrades.
NO_SOCKETS = """
window.WebSocket = class {
    static OPEN = 1;
    constructor() { setTimeout(() => this.onclose({code: 1006})); }
    close() {}
};
"""

FULL_DISK = """
window.isFull = true;
const put = IDBObjectStore.prototype.put;
IDBObjectStore.prototype.put = function (...values) {
    if (window.isFull && this.name === "outbox") throw new DOMException("", "QuotaExceededError");
    return put.apply(this, values);
};
"""


@pytest.fixture
def room(ann: Person, bob: Person) -> Mapping[str, Any]:
    return ann.open_room(bob)


def stored(person: Person, room: Mapping[str, Any]) -> list[str]:
    """Return the texts of a room as the server has them."""
    name = quote(room["name"], safe="")
    answer = person.get(f"/messenger/api/chatrooms/{name}/messages/", params={"limit": 1000})
    return [each["content"] for each in answer.json()]


def wait_for_shell(desk: Visit) -> None:
    """Wait until the page would open without a network."""
    desk.page.evaluate(
        """async () => {
            await navigator.serviceWorker.ready;
            while (!(await caches.match("/", {ignoreVary: true}))) await new Promise((resolve) => setTimeout(resolve, 50));
        }"""
    )


def test_what_is_written_offline_outlives_the_page_and_is_sent_once_in_order(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    desk.write("До")
    expect(page.locator("article .off-screen")).to_have_text("отправлено")
    wait_for_shell(desk)
    desk.wait_for_kept("kept", '"content":"До"')

    desk.is_calm = False
    desk.context.set_offline(True)
    for text in ("Раз", "Два", "Три"):
        desk.write(text)
    expect(page.locator("article.is-waiting")).to_have_count(3)
    page.reload()

    expect(page.locator("article.is-waiting")).to_have_count(3)
    assert desk.shown() == ["До", "Раз", "Два", "Три"]
    expect(page.locator(".banner")).to_be_visible()
    assert stored(bob, room) == ["До"]

    desk.context.set_offline(False)
    expect(page.locator("article.is-waiting")).to_have_count(0)
    assert desk.shown() == ["До", "Раз", "Два", "Три"]
    assert stored(bob, room) == ["До", "Раз", "Два", "Три"]
    expect(page.locator(".banner")).to_have_count(0)


def test_answer_that_was_lost_makes_no_second_message(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    desk.is_calm = False
    lost = 0

    def lose_the_first(route: Any) -> None:
        nonlocal lost
        if route.request.method != "POST" or lost:
            return route.continue_()
        lost += 1
        route.fetch()  # the server stores it …
        return route.abort()  # … and its answer does not arrive

    page.route(re.compile("/messages/$"), lose_the_first)
    desk.write("Ровно один раз")

    expect(page.locator("article", has_text="Ровно один раз").locator(".off-screen")).to_have_text(
        "отправлено"
    )
    desk.write("Дальше")  # what still waits is sent before it
    expect(page.locator("article", has_text="Дальше")).to_contain_text("отправлено")
    assert lost == 1
    assert desk.shown() == stored(bob, room) == ["Ровно один раз", "Дальше"]


def test_what_is_written_is_seen_though_the_history_is_not_there(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    bob.post(f"/messenger/api/chatrooms/{room['name']}/messages/", {"content": "Раньше"})
    desk = visit(ann)
    page = desk.go("/")
    page.locator("a.row").wait_for()
    page.evaluate("navigator.serviceWorker.ready")
    desk.is_calm = False
    desk.context.set_offline(True)
    page.locator("a.row").click()
    page.get_by_role("button", name="Загрузить снова").wait_for()

    desk.write("Пока без неё")
    expect(page.locator("article.is-waiting")).to_have_count(1)
    desk.context.set_offline(False)

    expect(page.locator("article", has_text="Пока без неё")).to_contain_text("отправлено")
    assert desk.shown() == ["Раньше", "Пока без неё"]


def test_two_tabs_send_what_waits_once(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann)
    desk.open_chat(room["name"])
    second = desk.open_tab()
    second.goto(f"{desk.url}/chat/{quote(room['name'], safe='')}")
    second.locator(".composer__text").wait_for()
    desk.is_calm = False

    desk.context.set_offline(True)
    desk.write("Из двух окон")
    expect(second.locator("article.is-waiting")).to_have_count(1)
    desk.context.set_offline(False)

    for tab in (desk.page, second):
        expect(tab.locator("article.is-waiting")).to_have_count(0)
        expect(tab.locator("article")).to_have_count(1)
    assert stored(bob, room) == ["Из двух окон"]


def test_connection_is_tried_when_the_network_is_said_to_be_gone(
    visit: Any, ann: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann)
    with desk.page.expect_websocket() as socket:
        desk.open_chat(room["name"])
    expect(desk.page.locator("#composer")).to_be_visible()

    # An emulated network leaves open sockets alone; what counts is that the page asks.
    with socket.value.expect_event("framesent", lambda frame: '"ping"' in frame):
        desk.context.set_offline(True)


def test_long_poll_carries_everything_where_no_socket_is_let_through(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann)
    desk.context.add_init_script(NO_SOCKETS)
    desk.open_chat(room["name"])

    for number in range(3):
        bob.post(
            f"/messenger/api/chatrooms/{quote(room['name'], safe='')}/messages/",
            {"content": f"Опрос {number}"},
        )

    desk.wait_for_text("Опрос 2")
    assert desk.shown() == ["Опрос 0", "Опрос 1", "Опрос 2"]


def test_message_that_this_device_cannot_keep_stays_in_its_field(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann)
    desk.context.add_init_script(FULL_DISK)
    page = desk.open_chat(room["name"])

    desk.write("Не пропало")
    expect(page.get_by_role("status").filter(has_text="нет места")).to_be_visible()
    expect(page.locator(".composer__text")).to_have_value("Не пропало")
    expect(page.locator("article")).to_have_count(0)
    page.evaluate("isFull = false")
    page.keyboard.press("Enter")

    expect(page.locator("article")).to_contain_text("отправлено")
    assert stored(bob, room) == ["Не пропало"]
