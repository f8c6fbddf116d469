"""The ways in by a link, and what administrators do: each button pressed, its effect seen by the other side."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.servers import Server
from tests.web.conftest import Visit

CHATS = re.compile("Беседы")
SETUP = re.compile(r"/setup#([\w-]+)")


def setup_code(server: Server) -> str:
    """Return the code of the link that a server without an administrator logs."""
    found = SETUP.search(server.log.read_text())
    assert found, "the log names no link of the first start"
    return found[1]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server that nobody has set up."""
    with Server(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets in by invitation only."""
    with Server(tmp_path_factory.mktemp("team"), {"REGISTRATION": "invite"}) as server:
        yield server


@pytest.fixture(scope="module")
def boss(team: Server) -> Person:
    """The first administrator of the team."""
    return make_person(team.url, "boss", path="/accounts/api/setup/", code=setup_code(team))


def invited(boss: Person) -> Person:
    """Return somebody new, whom the administrator has let in."""
    made = boss.post("/accounts/api/admin/invitations/", {})
    assert made.status_code == 201, made.text
    code = urlsplit(made.json()["link"]).fragment
    return make_person(boss.url, new_name("new"), invitation=code)


def fill_in(page: Page, name: str) -> None:
    page.get_by_label("Имя").fill(name)
    page.get_by_label("Почта").fill(f"{name}@example.com")
    page.get_by_label("Пароль", exact=True).fill(PASSWORD)


def act(page: Page, name: str, action: str) -> None:
    """Choose an action for somebody in the table of people."""
    page.get_by_label("Имя или почта").fill(name)
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name=f"Что сделать: {name}").click()
    page.get_by_role("menuitem", name=action).click()


def test_link_of_the_first_start_makes_the_first_administrator(visit: Any, fresh: Server) -> None:
    door: Visit = visit(url=fresh.url)
    page = door.go(f"/setup#{setup_code(fresh)}")

    expect(page.get_by_role("heading", name="Добро пожаловать")).to_be_visible()
    fill_in(page, "boss")
    page.get_by_role("button", name="Начать").click()

    expect(page.get_by_role("heading", name=CHATS)).to_be_visible()
    expect(page.get_by_role("link", name="Команда")).to_be_visible()
    assert urlsplit(page.url)[2:] == ("/", "", "")  # the code is not kept in the address

    late: Visit = visit(url=fresh.url)
    late.is_calm = False
    page = late.go(f"/setup#{setup_code(fresh)}")
    fill_in(page, "late")
    page.get_by_role("button", name="Начать").click()
    expect(page.get_by_role("alert")).to_be_visible()
    late.complaints.clear()


def test_invitation_is_made_copied_used_once_and_revoked(visit: Any, boss: Person) -> None:
    desk: Visit = visit(boss, url=boss.url, permissions=["clipboard-read", "clipboard-write"])
    page = desk.go("/team/invitations")
    page.get_by_role("button", name="Создать").first.click()
    page.get_by_role("button", name="Копировать").click()
    link = page.evaluate("navigator.clipboard.readText()")
    assert urlsplit(link)[:3] == urlsplit(f"{boss.url}/invite")[:3]

    name = new_name("guest")
    door: Visit = visit(url=boss.url)
    door.page.goto(link)
    expect(door.page.get_by_role("heading", name="Вас приглашают в Беседу")).to_be_visible()
    fill_in(door.page, name)
    door.page.get_by_role("button", name="Создать").click()
    expect(door.page.get_by_role("heading", name=CHATS)).to_be_visible()
    expect(door.page.get_by_role("link", name="Команда")).to_have_count(0)

    page.reload()
    expect(page.locator(".line", has_text=name)).to_be_visible()
    late: Visit = visit(url=boss.url)
    late.is_calm = False
    late.page.goto(link)
    fill_in(late.page, new_name("late"))
    late.page.get_by_role("button", name="Создать").click()
    expect(late.page.get_by_role("alert").or_(late.page.locator(".field__error"))).to_be_visible()
    late.complaints.clear()

    page.get_by_role("button", name="Создать").first.click()
    waiting = page.get_by_role("button", name="Отозвать")
    expect(waiting).to_have_count(1)
    waiting.click()
    expect(waiting).to_have_count(0)
    left = boss.get("/accounts/api/admin/invitations/").json()
    assert [each["used_by"] for each in left if each["used_by"] is None] == []


def test_link_for_a_new_password_replaces_the_old_one(visit: Any, boss: Person) -> None:
    person = invited(boss)
    page = visit(boss, url=boss.url).go("/team/people")
    act(page, person.username, "Ссылка для нового пароля")
    link = page.get_by_role("dialog").locator("code").inner_text()

    door: Visit = visit(url=boss.url)
    door.page.goto(link)
    door.page.get_by_label("Новый пароль").fill("another good password")
    door.page.get_by_role("button", name="Сохранить").click()
    door.page.get_by_role("link", name="Войти").click()
    door.page.get_by_label("Имя").fill(person.username)
    door.page.get_by_label("Пароль", exact=True).fill("another good password")
    door.page.keyboard.press("Enter")
    expect(door.page.get_by_role("heading", name=CHATS)).to_be_visible()

    late: Visit = visit(url=boss.url)
    late.is_calm = False
    late.page.goto(link)
    late.page.get_by_label("Новый пароль").fill("yet another password")
    late.page.get_by_role("button", name="Сохранить").click()
    expect(late.page.get_by_role("alert")).to_be_visible()  # it works once
    late.complaints.clear()


def test_person_is_deactivated_and_activated(visit: Any, boss: Person) -> None:
    person = invited(boss)
    theirs: Visit = visit(person, url=boss.url)
    their_page = theirs.go("/")
    expect(their_page.get_by_role("heading", name=CHATS)).to_be_visible()
    page = visit(boss, url=boss.url).go("/team/people")
    theirs.is_calm = False

    act(page, person.username, "Отключить…")
    page.get_by_role("alertdialog").get_by_role("button", name="Отключить").click()
    expect(page.locator("tbody tr .tag--danger")).to_be_visible()
    expect(their_page.get_by_role("heading", name="Вход")).to_be_visible()
    their_page.get_by_label("Имя").fill(person.username)
    their_page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    their_page.keyboard.press("Enter")
    expect(their_page.get_by_role("alert")).to_be_visible()

    act(page, person.username, "Включить")
    expect(page.locator("tbody tr .tag--danger")).to_have_count(0)
    their_page.keyboard.press("Enter")
    expect(their_page.get_by_role("heading", name=CHATS)).to_be_visible()
    theirs.complaints.clear()


def test_person_becomes_an_administrator_and_is_one_no_more(visit: Any, boss: Person) -> None:
    person = invited(boss)
    page = visit(boss, url=boss.url).go("/team/people")

    act(page, person.username, "Сделать администратором")
    expect(page.locator("tbody tr .tag--accent")).to_be_visible()
    assert person.get("/accounts/api/admin/users/").status_code == 200
    act(page, person.username, "Снять администратора")
    expect(page.locator("tbody tr .tag--accent")).to_have_count(0)

    assert person.get("/accounts/api/admin/users/").status_code == 403
