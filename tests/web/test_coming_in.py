"""Coming in and going out: the forms at the door, the session of a browser."""

import re
from typing import Any

import httpx
from playwright.sync_api import expect

from tests.factories import PASSWORD, Person, new_name
from tests.servers import Server

CHATS = re.compile("Беседы|Chats")


def test_wrong_password_is_said_and_the_right_one_lets_in(visit: Any, ann: Person) -> None:
    door = visit()
    page = door.go("/chat/some_room")  # where somebody wanted to go stays the address
    door.is_calm = False  # the refusal is an answer of 401, which the browser notes

    page.get_by_label("Имя").fill(ann.username)
    page.get_by_label("Пароль", exact=True).fill("not it, surely")
    page.get_by_role("button", name="Войти").click()
    expect(page.get_by_role("alert")).to_contain_text("Неверное имя или пароль")
    door.complaints.clear()
    page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Такой беседы нет")).to_be_visible()
    expect(page).to_have_url(re.compile("/chat/some_room$"))


def test_somebody_registers_and_stays_logged_in(visit: Any) -> None:
    name = new_name("new")
    door = visit()
    page = door.go("/register")

    page.get_by_label("Имя").fill(name)
    page.get_by_label("Почта").fill(f"{name}@example.com")
    page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=CHATS)).to_be_visible()
    expect(page).to_have_title("Беседа")  # no longer that of the form
    page.reload()

    expect(page.get_by_role("heading", name=CHATS)).to_be_visible()
    assert page.evaluate("document.cookie") == ""  # no script can read the session


def test_wrong_fields_say_what_is_wrong_below_them(visit: Any, ann: Person) -> None:
    door = visit()
    page = door.go("/register")
    door.is_calm = False

    page.get_by_label("Имя").fill(ann.username)
    page.get_by_label("Почта").fill("x@example.com")
    page.get_by_label("Пароль", exact=True).fill("12345678901")
    page.keyboard.press("Enter")

    expect(page.get_by_label("Имя")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#username-error")).to_be_visible()
    expect(page.locator("#password-error")).to_be_visible()
    door.complaints.clear()


def test_log_out_forgets_everything_on_this_device(visit: Any, ann: Person, bob: Person) -> None:
    room = ann.open_room(bob)
    desk = visit(ann)
    page = desk.open_chat(room["name"])
    desk.write("Это останется на сервере")
    expect(page.locator("article .off-screen")).to_have_text("отправлено")
    desk.wait_for_kept("kept", "Это останется")

    page.goto(f"{desk.url}/settings")
    with page.expect_event("load"):  # who logs in next gets a page without a memory
        page.get_by_role("button", name="Выйти").click()
    expect(page.get_by_role("heading", name="Вход")).to_be_visible()

    assert page.evaluate("localStorage.getItem('me')") is None
    assert [desk.kept(store) for store in ("outbox", "drafts", "kept")] == [[], [], []]
    assert [each for each in desk.context.cookies() if "refresh" in each["name"]] == []


def test_language_is_that_of_the_browser_or_the_chosen_one(visit: Any, server: Server) -> None:
    english = visit(locale="en-GB").go("/login")
    expect(english.get_by_role("heading", name="Log in")).to_be_visible()

    english.get_by_role("button", name="По-русски").click()
    expect(english.get_by_role("heading", name="Вход")).to_be_visible()
    english.reload()

    expect(english.get_by_role("heading", name="Вход")).to_be_visible()
    assert english.locator("html").get_attribute("lang") == "ru"


def test_page_of_a_lost_password_says_when_there_is_no_mail(visit: Any) -> None:
    door = visit()
    page = door.go("/forgotten")
    door.is_calm = False

    page.get_by_label("Почта").fill("somebody@example.com")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("не рассылает писем")
    door.complaints.clear()


def test_session_that_was_ended_elsewhere_leads_to_the_login(visit: Any, ann: Person) -> None:
    desk = visit(ann)
    page = desk.go("/")
    expect(page.get_by_role("heading", name=CHATS)).to_be_visible()
    sessions = httpx.get(f"{ann.url}/accounts/api/sessions/", headers=ann.bearer).json()
    desk.is_calm = False

    for session in sessions:
        if not session["current"]:
            ann.http.delete(f"/accounts/api/sessions/{session['id']}/")

    expect(page.get_by_role("heading", name="Вход")).to_be_visible()
    desk.complaints.clear()


def test_other_tabs_follow_when_somebody_else_logs_in(visit: Any, ann: Person, bob: Person) -> None:
    ann.open_room(bob)
    desk = visit(ann)
    page = desk.go("/")
    expect(page.locator("a.row", has_text=bob.username)).to_be_visible()
    other = desk.open_tab()
    other.goto(f"{desk.url}/settings")
    desk.is_calm = False  # what the first tab asks meanwhile is refused

    other.get_by_role("button", name="Выйти").click()
    other.get_by_label("Имя").fill(bob.username)
    other.get_by_label("Пароль", exact=True).fill(PASSWORD)
    other.keyboard.press("Enter")

    for tab in (other, page):
        expect(tab.locator("a.row", has_text=ann.username)).to_be_visible()
        expect(tab.locator("a.row", has_text=bob.username)).to_have_count(0)
    desk.complaints.clear()
