"""A long history: it grows upwards without a jump, and the page keeps a few hundred rows of it."""

from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import expect

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


# Scrolls up to the beginning, and looks in each frame whether what is read stands still.
SCROLL_UP = """async (box) => {
    const frame = () => new Promise(requestAnimationFrame);
    const top = (row) => row.getBoundingClientRect().top;
    const seen = {moved: [], grew: 0, most: 0};
    while (!document.querySelector(".hello")) {
        box.scrollTop -= 700;
        await frame();
        const rows = [...box.querySelectorAll("article")];
        const eye = rows.find((row) => top(row) >= top(box) + 40);
        const before = top(eye);
        seen.most = Math.max(seen.most, rows.length);
        for (let still = 0; still < 4; still++) {
            await frame();
            const grown = box.querySelectorAll("article").length - rows.length;
            if (grown > 0) seen.grew++;
            if (Math.abs(top(eye) - before) > 1) seen.moved.push([eye.textContent, top(eye) - before, grown]);
        }
    }
    return seen;
}"""
# Goes down as long as there is more.
SCROLL_DOWN = """async (box) => {
    while (document.querySelector(".jump")) {
        box.scrollTop += 2500;
        await new Promise(requestAnimationFrame);
    }
}"""


def test_what_is_read_does_not_move_while_older_messages_come(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    fill(bob, room, 500)
    ann.post(f"/messenger/api/chatrooms/{room['name']}/read/", {"read_id": 10**9})
    desk: Visit = visit(ann)
    page = desk.open_chat(room["name"])
    desk.wait_for_text("Строка 499")

    seen = page.locator(".timeline").evaluate(SCROLL_UP)

    assert seen["moved"] == []
    assert seen["grew"] > 0
    assert 150 < seen["most"] <= ROWS_MAX
    expect(page.get_by_text("Начало беседы")).to_be_visible()
    desk.wait_for_text("Строка 0. ")

    page.locator(".jump").click()
    expect(page.locator("article", has_text="Строка 499")).to_be_in_viewport()


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
    page.locator(".timeline").evaluate(SCROLL_DOWN)
    expect(page.locator("article", has_text="Строка 199. ")).to_be_in_viewport()
    ids = page.locator("article").evaluate_all("all => all.map((each) => Number(each.dataset.id))")

    assert ids == [each["id"] for each in messages if each["id"] >= ids[0]]  # without a gap
