"""The search in messages: what is found, how it is shown, and the way there and back."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.factories import Person
from tests.web.conftest import PHONE


@pytest.fixture
def room(ann: Person, bob: Person) -> Mapping[str, Any]:
    """A room with a long history, in which tiles were spoken of long ago."""
    room = ann.open_room(bob)
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    bob.post(path, {"content": "Плитку привезут в среду, нужен кто-то на приёмку"})
    for number in range(90):
        ann.post(path, {"content": f"Строка {number}."})
    bob.post(path, {"content": "Образцы плитки забрал <b>завтра</b>"})
    return room


def test_message_is_found_shown_in_its_place_and_left_again(
    visit: Any, ann: Person, room: Mapping[str, Any]
) -> None:
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    for number in range(100):
        ann.post(path, {"content": f"Позже {number}."})
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    page.keyboard.press("Control+Shift+F")
    field = page.get_by_role("textbox", name="Поиск в сообщениях")
    expect(field).to_be_focused()
    field.fill("плитка")

    hits = page.locator("a.hit")
    expect(hits).to_have_count(2)
    expect(hits.locator("mark")).to_have_text(["плитки", "Плитку"])  # the newest first
    expect(hits.first).to_contain_text("<b>завтра</b>")  # what people write is text
    field.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    found = page.locator("article", has_text="Плитку привезут в среду")
    expect(found).to_be_in_viewport()
    expect(found).to_be_focused()
    expect(page.locator("article", has_text="Позже 99.")).to_have_count(0)  # it is far away
    expect(hits.last).to_have_attribute("aria-current", "true")
    page.go_back()
    expect(page).to_have_url(re.compile(r"/chat/[^/]+\?find="))
    expect(hits).to_have_count(2)
    field.press("Escape")
    expect(page.get_by_role("heading", name="Беседы")).to_be_visible()


def test_search_is_narrowed_to_a_chat_and_a_person(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    page = visit(ann).open_chat(room["name"])
    page.get_by_role("button", name="Поиск в беседе").click()
    page.get_by_role("textbox", name="Поиск в сообщениях").fill("строка")
    hits = page.locator("a.hit")
    expect(hits).to_have_count(30)
    page.get_by_role("button", name="Более ранние").click()
    expect(hits).to_have_count(60)
    expect(page.locator(".filter[aria-pressed=true]")).to_contain_text(bob.username)

    page.get_by_role("button", name="От кого").click()
    page.get_by_role("menuitem", name=bob.username).click()
    expect(page.get_by_text("Ничего не нашлось")).to_be_visible()
    page.get_by_role("button", name=f"От: {bob.username}").click()
    expect(hits).to_have_count(30)


def test_other_keyboard_layout_is_tried_and_said(
    visit: Any, ann: Person, room: Mapping[str, Any]
) -> None:
    page = visit(ann).go("/chat?find=gkbnre")  # плитку, with the Latin layout

    expect(page.locator("a.hit")).to_have_count(2)
    expect(page.locator(".searched-as")).to_contain_text("«плитку»")
    expect(page.locator("a.hit mark").first).to_have_text("плитки")


def test_phone_shows_one_thing_at_a_time(visit: Any, ann: Person, room: Mapping[str, Any]) -> None:
    page = visit(ann, viewport=PHONE).go("/")
    page.get_by_role("button", name="Поиск в сообщениях").click()
    page.get_by_role("textbox", name="Поиск в сообщениях").fill("приёмка")
    page.locator("a.hit").click()
    expect(page.locator("article", has_text="на приёмку")).to_be_in_viewport()
    expect(page.locator("a.hit")).not_to_be_visible()

    page.get_by_role("button", name="Назад", exact=True).click()
    expect(page.locator("a.hit")).to_be_visible()
    page.get_by_role("button", name="Назад к беседам").click()
    expect(page.get_by_role("heading", name="Беседы")).to_be_visible()


def test_switcher_leads_to_the_search(visit: Any, ann: Person, room: Mapping[str, Any]) -> None:
    page = visit(ann).go("/")
    page.locator("a.row").wait_for()
    page.keyboard.press("Control+K")
    page.get_by_role("combobox").fill("приёмка")
    page.get_by_role("option", name="Искать в сообщениях").click()

    expect(page.locator("a.hit mark")).to_have_text("приёмку")


def test_question_that_has_no_word_is_explained(visit: Any, ann: Person) -> None:
    desk = visit(ann)
    desk.is_calm = False  # the refusal is an answer of 400, which the browser notes
    page = desk.go("/chat?find=%21%21%21")

    expect(page.locator(".list").get_by_role("alert")).to_contain_text("слово")
    desk.complaints.clear()


@pytest.mark.parametrize(
    ("text", "q", "parts"),
    [
        ("Плитку привезут", "плитка", ["[Плитку]", " привезут"]),
        ("Ёлка и счёт", "елка счет", ["[Ёлка]", " и ", "[счёт]"]),
        ("план", "плитка", ["план"]),
        ("do it", "do", ["[do]", " it"]),
        ("слово " * 20 + "клад", "клад", ["…" + "слово " * 6, "[клад]"]),
    ],
)
def test_words_that_were_looked_for_are_marked(
    js: Any, text: str, q: str, parts: list[str]
) -> None:
    found = js("({marked}, [text, q]) => marked(text, q)", "text/found", argument=[text, q])

    assert [f"[{each['text']}]" if each["isFound"] else each["text"] for each in found] == parts
