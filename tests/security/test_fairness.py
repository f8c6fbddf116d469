"""What costs a hash: one person, or one address, cannot keep the others from it."""

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import httpx
import pytest

from app.threads import FairLock
from tests.factories import PASSWORD, Person, make_person, new_name
from tests.problems import check_problem
from tests.servers import Server

TOKEN = "/accounts/api/token/"
ATTACKERS = 15
SECONDS = 6


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the limits that it ships with."""
    folder: Path = tmp_path_factory.mktemp("limited")
    with Server(folder, {"RATELIMIT_ENABLED": "true"}) as server:
        yield server


@pytest.mark.alone
def test_members_log_in_beside_fifteen_who_use_right_passwords(limited: Server) -> None:
    attackers = [make_person(limited.url) for _ in range(ATTACKERS)]
    victim = make_person(limited.url)
    stop = time.monotonic() + SECONDS

    def attack(person: Person) -> None:
        body = {"email": person.email, "password": PASSWORD}
        while time.monotonic() < stop:
            person.http.patch("/accounts/api/users/me/", json=body)

    threads = [
        threading.Thread(target=attack, args=(person,)) for person in attackers for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    seconds = []
    while time.monotonic() < stop:
        began = time.monotonic()
        answer = victim.post(TOKEN, {"username": victim.username, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        seconds.append(time.monotonic() - began)
        time.sleep(0.2)
    for thread in threads:
        thread.join()

    # On a quiet machine the slowest takes half a second; without turns, each was refused.
    assert statistics.median(seconds) < 3, seconds


def test_own_password_is_asked_for_only_so_often(limited: Server) -> None:
    person = make_person(limited.url)
    body = {"email": person.email, "password": PASSWORD}

    statuses = [
        person.http.patch("/accounts/api/users/me/", json=body).status_code for _ in range(31)
    ]

    assert statuses == [200] * 30 + [429]


def test_whoever_asks_often_waits_behind_those_who_ask_once() -> None:
    lock = FairLock()
    order: list[str] = []
    lock.acquire("first")

    def ask(who: str) -> None:
        lock.acquire(who)
        order.append(who)
        lock.release()

    waiting = []
    for who in ["eve"] * 3 + ["ann", "bob"]:
        waiting.append(gevent.spawn(ask, who))
        gevent.sleep(0)
    lock.release()
    gevent.joinall(waiting, timeout=5)

    assert order == ["eve", "ann", "bob", "eve", "eve"]


def test_one_export_of_a_person_at_a_time(server: Server) -> None:
    ann, bob = make_person(server.url, new_name("ann")), make_person(server.url, new_name("bob"))
    room = ann.open_room(bob)
    for _ in range(400):
        ann.post(f"/messenger/api/chatrooms/{room['name']}/messages/", {"content": "😀" * 10_000})
    with ann.http.stream("GET", "/accounts/api/users/me/export/") as unread:
        assert unread.status_code == 200
        second = httpx.get(f"{server.url}/accounts/api/users/me/export/", headers=ann.bearer)
        check_problem(second, 429, "throttled")
        other = httpx.get(f"{server.url}/accounts/api/users/me/export/", headers=bob.bearer)
        assert other.status_code == 200
    deadline = time.monotonic() + 5
    while ann.get("/accounts/api/users/me/export/").status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)
