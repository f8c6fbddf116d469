"""Two people talk in two browsers while the server restarts, the network drops and a tab sleeps.

What each of them saw in the end is judged by the checker of the delivery tests.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.delivery.checker import History, Message, Said, Socket, check
from tests.factories import Person, make_person, new_name
from tests.servers import Server
from tests.web.conftest import PHONE, Visit

PATIENCE_MS = 40_000  # the pause between attempts grows to 30 s
DROP_SECONDS = 20
SHOWN = """(all) => all.map((each) => [
    Number(each.dataset.id), each.classList.contains("msg--own"), each.querySelector("time").dateTime,
    each.querySelector(".bubble__text").firstChild.textContent])"""


@pytest.fixture(scope="module")
def restarting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of our own, to be stopped and started."""
    with Server(tmp_path_factory.mktemp("restarting")) as server:
        yield server


def seen_by(desk: Visit, other: Person) -> list[Message]:
    """Return the messages on somebody's screen, from above; a text is its own client_id here."""
    assert desk.person
    names = {True: desk.person.username, False: other.username}
    rows = desk.page.locator("article").evaluate_all(SHOWN)
    return [Message(number, names[mine], text, at, text) for number, mine, at, text in rows]


def unread(person: Person) -> list[int]:
    """Return the unread counts of somebody's chats as the server has them."""
    return [chat["unread"] for chat in person.get("/messenger/api/chats/").json()]


def stored(person: Person, room: Mapping[str, Any]) -> list[Message]:
    path = f"/messenger/api/chatrooms/{quote(room['name'], safe='')}/messages/"
    rows = person.get(path, params={"limit": 1000}).json()
    return [
        Message(each["id"], each["user"], each["content"], each["timestamp"], each["content"])
        for each in rows
    ]


def test_nothing_is_lost_doubled_or_out_of_order(visit: Any, restarting: Server) -> None:
    url = restarting.url
    people = [make_person(url, new_name("ann")), make_person(url, new_name("bob"))]
    room = people[0].open_room(people[1])
    began = time.monotonic()
    desks = [visit(person, url=url) for person in people]
    phone = visit(
        people[1], url=url, viewport=PHONE
    )  # a second device of one of them, with the list before it
    phone.is_calm = False
    phone.go("/")
    said: list[Said] = []
    for desk in desks:
        desk.is_calm = False
        desk.open_chat(room["name"])

    def talk(about: str) -> None:
        for number in range(3):
            for desk, person in zip(desks, people, strict=True):
                text = f"{about} {number}, {person.username}"
                said.append(Said(room["name"], person.username, text, text, time.monotonic()))
                desk.write(text)

    talk("Спокойно")
    restarting.stop()
    talk("Без сервера")
    restarting.start()
    talk("После перезапуска")
    desks[1].context.set_offline(True)
    talk("Один без сети")
    time.sleep(DROP_SECONDS)
    desks[1].context.set_offline(False)
    sleep = desks[0].context.new_cdp_session(desks[0].page)
    sleep.send("Page.setWebLifecycleState", {"state": "frozen"})
    for number in range(3):
        text = f"Пока спит {number}"
        said.append(Said(room["name"], people[1].username, text, text, time.monotonic()))
        desks[1].write(text)
    time.sleep(2)
    sleep.send("Page.setWebLifecycleState", {"state": "active"})

    for desk in desks:
        rows = desk.page.locator("article:not(.is-waiting)")
        expect(rows).to_have_count(len(said), timeout=PATIENCE_MS)
        expect(desk.page.locator(".is-waiting, .is-failed")).to_have_count(0)
    shown = [seen_by(desk, other) for desk, other in zip(desks, reversed(people), strict=True)]
    sockets = [
        Socket(
            person.username, person.username, room["name"], None, began, began, True, received=seen
        )
        for person, seen in zip(people, shown, strict=True)
    ]
    verdicts = check(History(said, [], sockets, {room["name"]: stored(people[0], room)}))

    assert verdicts == []
    for person, each in ((people[0], desks[0]), (people[1], desks[1]), (people[1], phone)):
        expect(each.page.locator("a.row .badge")).to_have_count(0, timeout=PATIENCE_MS)
        assert unread(person) == [0]

    phone.context.set_offline(True)
    desks[1].go("/")
    desks[1].page.locator("a.row").wait_for()
    for number in range(3):
        desks[0].write(f"Пока никто не смотрит {number}")
    expect(desks[1].page.locator("a.row .badge")).to_have_text("3")
    phone.context.set_offline(False)
    expect(phone.page.locator("a.row .badge")).to_have_text("3", timeout=PATIENCE_MS)
    assert unread(people[1]) == [3]
    phone.page.locator("a.row").click()
    expect(desks[1].page.locator("a.row .badge")).to_have_count(0, timeout=PATIENCE_MS)
    assert unread(people[1]) == [0]
