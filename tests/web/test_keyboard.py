"""Without a pointer: everything that matters can be done by keys, in an order that makes sense."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.factories import PASSWORD, Person
from tests.web.conftest import PHONE

NAME = """() => {
    const at = document.activeElement;
    return at.getAttribute("aria-label") ?? document.querySelector(`label[for="${at.id}"]`)?.textContent ?? at.textContent.trim();
}"""


def tab_through(page: Page, count: int) -> list[str]:
    """Return the names of what Tab leads to, one after the other."""
    names: list[str] = []
    for _ in range(count):
        page.keyboard.press("Tab")
        names.append(page.evaluate(NAME))
    return names


def test_somebody_logs_in_writes_replies_and_finds_the_way(
    visit: Any, ann: Person, bob: Person
) -> None:
    room = ann.open_room(bob)
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    bob.post(path, {"content": "Кто поможет?"})
    page = visit().go("/login")
    expect(page.get_by_label("Имя")).to_be_focused()
    page.keyboard.type(ann.username)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.locator("a.row").wait_for()

    page.keyboard.press("Alt+ArrowDown")
    field = page.get_by_role("textbox", name="Сообщение")
    expect(field).to_be_focused()
    page.keyboard.type("Я")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("могу")
    page.keyboard.press("Enter")
    own = page.locator("article.msg--own")
    expect(own).to_contain_text("Я\nмогу")
    expect(own).to_contain_text("отправлено")
    page.keyboard.press("Shift+Tab")
    expect(own).to_be_focused()
    page.keyboard.press("ArrowUp")
    question = page.locator("article", has_text="Кто поможет?")
    expect(question).to_be_focused()
    page.keyboard.press("r")
    expect(field).to_be_focused()
    expect(page.locator(".over")).to_contain_text("Кто поможет?")
    page.keyboard.press("Escape")
    expect(page.locator(".over")).to_have_count(0)

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    menu = page.get_by_role("menu")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(question).to_be_focused()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Клавиши")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(question).to_be_focused()


@pytest.mark.parametrize(
    ("locale", "write", "sent", "is_streamed"),
    [("ru-RU", "Сообщение", "отправлено", True), ("en-GB", "Message", "sent", False)],
)
def test_focus_stays_on_the_own_message_while_the_server_takes_it(
    visit: Any, ann: Person, bob: Person, locale: str, write: str, sent: str, is_streamed: bool
) -> None:
    room = ann.open_room(bob)
    desk = visit(ann, locale=locale)
    page = desk.page
    held: list[Route] = []
    page.route(re.compile("/messages/$"), lambda route: held.append(route))
    if not is_streamed:  # the answer tells of it first, otherwise the stream does
        page.route_web_socket(re.compile("/ws/"), lambda socket: None)
    desk.open_chat(room["name"])
    own = page.locator("article.msg--own")
    page.get_by_role("textbox", name=write).fill("Я")
    page.keyboard.press("Enter")
    expect(own).to_have_class(re.compile("is-waiting"))
    page.keyboard.press("Shift+Tab")
    expect(own).to_be_focused()
    while not held:
        page.wait_for_timeout(10)

    answer = held[0].fetch()
    if not is_streamed:
        held[0].fulfill(response=answer)

    expect(own).to_contain_text(sent)
    expect(own).to_be_focused()
    expect(own).to_have_attribute("tabindex", "0")  # Tab leads back to it
    if is_streamed:
        held[0].fulfill(response=answer)


def test_tab_leads_from_the_skip_link_through_the_sections_to_the_chat(
    visit: Any, ann: Person, bob: Person
) -> None:
    ann.open_room(bob)
    page = visit(ann).go("/")
    page.get_by_role("button", name="Включить").wait_for()  # asked with the connection

    names = tab_through(page, 11)

    assert names[:4] == ["К содержанию", "Беседы", "Записи", "Люди"]
    assert names[5:7] == ["Поиск в сообщениях", "Новая беседа"]
    assert names[7].startswith("Найти беседу")
    assert names[8:10] == ["Включить", "Не сейчас"]  # notifications
    assert bob.username in names[10]


def test_focus_goes_with_the_pane_on_a_phone(visit: Any, ann: Person, bob: Person) -> None:
    ann.open_room(bob)
    phone = visit(ann, viewport=PHONE, is_mobile=True, has_touch=True)
    page = phone.go("/")
    page.locator("a.row").focus()

    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("button", name="Назад").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".list")).to_be_focused()


def test_everything_that_can_be_pressed_has_a_name(visit: Any, ann: Person, bob: Person) -> None:
    room = ann.open_room(bob)
    ann.post(f"/messenger/api/chatrooms/{room['name']}/messages/", {"content": "Привет"})
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    page.locator("article").hover()

    nameless = page.locator(
        "button, a, input:not([hidden]), textarea, [role=menuitem]"
    ).evaluate_all(
        """(all) => all.filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim()
            || each.labels?.length)).map((each) => each.outerHTML)"""
    )

    assert nameless == []
    assert page.locator("article").get_attribute("aria-label", timeout=1000)
