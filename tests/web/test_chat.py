"""Talking: what one does, the other sees."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.factories import Person, make_person, new_name
from tests.servers import Server
from tests.web.conftest import PHONE


@pytest.fixture
def room(ann: Person, bob: Person) -> Mapping[str, Any]:
    return ann.open_room(bob)


def row_of(page: Page, name: str) -> Any:
    return page.locator("a.row", has_text=name)


def test_two_people_talk_and_see_what_was_read(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    one, other = visit(ann), visit(bob)
    one.open_chat(room["name"])
    list_of_bob = other.go("/")

    one.write("Привет! https://example.com/a (см. <b>там</b>)")
    expect(row_of(list_of_bob, ann.username).locator(".badge")).to_have_text("1")
    expect(list_of_bob).to_have_title(re.compile(r"^\(1\) "))
    row_of(list_of_bob, ann.username).click()
    other.wait_for_text("<b>там</b>")  # what people write is text
    expect(one.page.locator("article.msg--own .icon--read")).to_be_visible()
    expect(row_of(list_of_bob, ann.username).locator(".badge")).to_have_count(0)

    other.page.locator(".composer__text").press_sequentially("И тебе")
    expect(one.page.locator(".typing")).to_contain_text(f"{bob.username} печатает")
    other.page.keyboard.press("Enter")
    one.wait_for_text("И тебе")

    expect(one.page.locator(".typing")).to_have_count(0)
    expect(one.page.locator(".history a").first).to_have_attribute("href", "https://example.com/a")
    expect(one.page.locator(".bar__state")).to_have_text("в сети")
    assert one.shown() == other.shown()


def test_edit_reply_and_delete_reach_the_other(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    one, other = visit(ann), visit(bob)
    page = one.open_chat(room["name"])
    other.open_chat(room["name"])
    one.write("Перывй")
    expect(page.locator("article.msg--own .meta .off-screen")).to_have_text("отправлено")

    page.keyboard.press("ArrowUp")  # edits the last one
    page.locator(".composer__text").fill("Первый")
    page.keyboard.press("Enter")
    other.wait_for_text("Первый")
    expect(other.page.locator(".meta").first).to_contain_text("изменено")

    other.page.locator("article").last.hover()
    other.page.get_by_role("button", name="Ответить").click()
    other.write("Вижу")
    quote = page.locator("article.msg:not(.msg--own) .quote")
    expect(quote).to_contain_text("Первый")

    page.locator("article.msg--own").first.hover()
    page.locator("article.msg--own").first.get_by_role("button", name="Ещё").click()
    page.get_by_role("menuitem", name="Удалить…").click()
    page.get_by_role("button", name="Удалить").click()
    expect(other.page.locator(".is-gone")).to_contain_text("Сообщение удалено")
    expect(quote).to_contain_text("Сообщение удалено")


def test_link_of_a_message_is_copied_and_leads_to_it(
    visit: Any, ann: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann, permissions=["clipboard-read", "clipboard-write"])
    page = desk.open_chat(room["name"])
    desk.write("Вот это")
    article = page.locator("article[data-id]:not(.is-waiting)", has_text="Вот это")
    expect(article.locator(".meta .off-screen")).to_have_text("отправлено")

    article.hover()
    article.get_by_role("button", name="Ещё").click()
    page.get_by_role("menuitem", name="Копировать ссылку").click()
    link = page.evaluate("navigator.clipboard.readText()")
    page.goto(link)

    assert link.endswith(f"/{article.get_attribute('data-id')}")
    expect(article).to_be_focused()


def test_message_is_made_unread_and_stays_so_on_all_devices(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    for text in ("Раз", "Два", "Три"):
        bob.post(f"/messenger/api/chatrooms/{room['name']}/messages/", {"content": text})
    desk, phone = visit(ann), visit(ann, viewport=PHONE)
    on_phone = phone.go("/")
    expect(row_of(on_phone, bob.username).locator(".badge")).to_have_text("3")
    page = desk.open_chat(room["name"])
    expect(page.locator(".new")).to_be_visible()
    expect(row_of(on_phone, bob.username).locator(".badge")).to_have_count(0)  # read on the desk

    page.locator("article", has_text="Два").hover()
    page.locator("article", has_text="Два").get_by_role("button", name="Ещё").click()
    page.get_by_role("menuitem", name="Не прочитано отсюда").click()

    for each in (page, on_phone):
        expect(row_of(each, bob.username).locator(".badge")).to_have_text("2")
    chats = ann.get("/messenger/api/chats/").json()
    assert [chat["unread"] for chat in chats if chat["name"] == room["name"]] == [2]


def test_a_draft_outlives_the_page(visit: Any, ann: Person, room: Mapping[str, Any]) -> None:
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    page.locator(".composer__text").fill("Не дописано")
    desk.wait_for_kept("drafts", "Не дописано")

    page.goto(f"{desk.url}/")
    expect(row_of(page, "Не дописано")).to_contain_text("Черновик:")
    row_of(page, "Не дописано").click()

    expect(page.locator(".composer__text")).to_have_value("Не дописано")


def test_refused_message_stays_with_its_reason(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    assert bob.post("/profiles/api/blocks/", {"username": ann.username}).status_code == 200
    desk.is_calm = False  # the refusal is an answer of 403, which the browser notes

    desk.write("Ты тут?")
    expect(page.locator(".is-failed")).to_contain_text("Ты тут?")
    expect(page.locator(".fault")).to_be_visible()
    page.reload()
    expect(page.locator(".is-failed")).to_contain_text("Ты тут?")
    page.locator(".fault").get_by_role("button", name="Удалить").click()

    expect(page.locator(".is-failed")).to_have_count(0)
    desk.complaints.clear()


def test_group_is_made_renamed_muted_and_left(
    visit: Any, server: Server, ann: Person, bob: Person
) -> None:
    carl = make_person(server.url, new_name("carl"))
    one, other = visit(ann), visit(carl)
    page, list_of_carl = one.go("/"), other.go("/")
    page.get_by_role("button", name="Новая беседа").first.click()
    page.get_by_role("button", name="Новая группа").click()
    page.get_by_label("Название").fill("Наши")
    for person in (bob, carl):
        page.get_by_label("Кого добавить").fill(person.username)
        page.get_by_role("checkbox", name=person.username).check()
    page.get_by_role("button", name="Создать").click()
    expect(page.locator(".bar__name")).to_have_text("Наши")
    one.write("Всем привет")
    expect(row_of(list_of_carl, "Наши")).to_contain_text("Всем привет")

    page.locator(".bar__who").click()
    expect(page.locator(".side .row")).to_have_count(3)
    page.get_by_role("button", name="Название и картинка").click()
    page.get_by_label("Название", exact=True).fill("Наши люди")
    page.get_by_role("button", name="Сохранить").click()
    expect(row_of(list_of_carl, "Наши люди")).to_be_visible()
    page.locator(".side").get_by_role("button", name="Без звука").click()
    expect(row_of(page, "Наши люди").locator("use[href='#bell-off']")).to_be_visible()

    row_of(list_of_carl, "Наши люди").click()
    list_of_carl.get_by_role("button", name="Ещё").click()
    list_of_carl.get_by_role("menuitem", name="Выйти из группы…").click()
    list_of_carl.get_by_role("button", name="Выйти").last.click()
    expect(row_of(list_of_carl, "Наши люди")).to_have_count(0)
    expect(page.locator(".side .row")).to_have_count(2)


def test_what_comes_far_away_counts_and_does_not_move_what_is_read(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    for number in range(60):
        ann.post(path, {"content": f"Строка {number}."})
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    desk.wait_for_text("Строка 59.")
    page.locator(".timeline").evaluate("(box) => { box.scrollTop = -900; }")
    expect(page.locator(".jump")).to_be_visible()
    eye = page.locator("article", has_text="Строка 40.")
    before = eye.bounding_box()

    bob.post(path, {"content": "Новость"})

    expect(page.locator(".jump .badge")).to_have_text("1")
    assert abs(eye.bounding_box()["y"] - before["y"]) <= 1  # type: ignore[index]
    page.locator(".jump").click()
    expect(page.locator("article", has_text="Новость")).to_be_in_viewport()


def test_what_another_program_shares_becomes_a_draft_of_the_chosen_chat(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    page = visit(ann).go("/chat?title=%D0%9F%D0%BB%D0%B0%D0%BD&url=https%3A%2F%2Fexample.com%2Fa")
    expect(page.locator(".list__note")).to_be_visible()

    row_of(page, bob.username).click()

    expect(page.locator(".composer__text")).to_have_value("План\nhttps://example.com/a")
    expect(page).to_have_url(re.compile(f"/chat/{re.escape(room['name'])}$"))
    expect(page.locator(".list__note")).to_have_count(0)
