"""A long history: it grows upwards without a jump, and the page keeps a few hundred rows of it."""

from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.factories import Person
from tests.web.conftest import Visit

ROWS_MAX = 300


@pytest.fixture
def room(ann: Person, bob: Person) -> Mapping[str, Any]:
    return ann.open_room(bob)


def fill(person: Person, room: Mapping[str, Any], count: int) -> None:
    """Say so many things in a room."""
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    for number in range(count):
        person.post(path, {"content": f"Строка {number}. " + "слово " * (number % 23)})


def top_of(page: Page, text: str) -> float:
    box = page.locator("article", has_text=text).bounding_box()
    assert box
    return box["y"]


def first_in_view(page: Page) -> str:
    """Return the text of the first message that is seen whole."""
    found: str = page.locator(".timeline").evaluate(
        """(box) => [...box.querySelectorAll("article")].find((each) =>
            each.getBoundingClientRect().top >= box.getBoundingClientRect().top + 40
        ).querySelector(".bubble__text").firstChild.textContent.split(". ")[0] + ". " """
    )
    return found


def test_what_is_read_does_not_move_while_older_messages_come(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    fill(bob, room, 700)
    ann.post(f"/messenger/api/chatrooms/{room['name']}/read/", {"read_id": 10**9})
    desk: Visit = visit(ann)
    page = desk.open_chat(room["name"])
    desk.wait_for_text("Строка 699")
    page.locator(".timeline").hover()
    most = 0
    for _ in range(40):
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(60)
        rows = page.locator("article")
        eye = first_in_view(page)
        before, count = top_of(page, eye), rows.count()
        page.wait_for_timeout(120)  # until what was asked for is there, or not
        assert abs(top_of(page, eye) - before) <= 1, (
            f"{eye} moved while {count} rows became {rows.count()}"
        )
        most = max(most, rows.count())

    assert 150 < most <= ROWS_MAX + 60
    for _ in range(60):
        page.mouse.wheel(0, -3000)
        page.wait_for_timeout(60)
        if page.get_by_text("Начало беседы").count():
            break
    expect(page.get_by_text("Начало беседы")).to_be_visible()
    desk.wait_for_text("Строка 0. ")
    assert page.locator("article").count() <= ROWS_MAX + 60

    page.locator(".jump").click()
    expect(page.locator("article", has_text="Строка 699")).to_be_in_viewport()


def test_history_begins_where_one_had_stopped_reading(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    fill(bob, room, 120)
    desk: Visit = visit(ann)

    page = desk.open_chat(room["name"])

    expect(page.locator(".new")).to_be_in_viewport()
    expect(page.locator("article", has_text="Строка 0. ")).to_be_in_viewport()
    expect(page.locator(".jump .badge")).to_have_text("120")
    page.locator(".jump").click()
    expect(page.locator("article", has_text="Строка 119. ")).to_be_in_viewport()
    expect(page.locator("a.row .badge")).to_have_count(0)


def test_link_leads_into_the_middle_and_on_to_both_ends(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    fill(bob, room, 200)
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    messages = ann.get(path, params={"limit": 200}).json()
    middle = messages[100]
    desk: Visit = visit(ann)

    page = desk.open_chat(room["name"], f"/{middle['id']}")
    expect(page.locator(f"article[data-id='{middle['id']}']")).to_be_in_viewport()
    page.locator(".timeline").hover()
    for _ in range(30):
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(60)
    expect(page.locator("article", has_text="Строка 199. ")).to_be_in_viewport()
    ids = page.locator("article").evaluate_all("all => all.map((each) => Number(each.dataset.id))")

    assert ids == [each["id"] for each in messages if each["id"] >= ids[0]]  # without a gap
