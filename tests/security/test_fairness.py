"""What costs a hash: one person, or one address, cannot keep the others from it."""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import gevent
import httpx
import pytest

from app.threads import FairLock, Owner, TooBusy
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
        threading.Thread(target=attack, args=(person,)) for person in attackers for _ in range(6)
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
    assert statistics.median(seconds) < 1.5, seconds
    assert max(seconds) < 5, seconds


def test_own_password_is_asked_for_only_so_often(limited: Server) -> None:
    person = make_person(limited.url)
    body = {"email": person.email, "password": PASSWORD}

    statuses = [
        person.http.patch("/accounts/api/users/me/", json=body).status_code for _ in range(31)
    ]

    assert statuses == [200] * 30 + [429]


def order_of(asked: Sequence[Owner], lock: FairLock | None = None) -> list[Owner]:
    """Let owners ask for a lock one after the other; return in which order they get it."""
    lock = lock or FairLock()
    order: list[Owner] = []
    lock.acquire(Owner("first"))

    def ask(who: Owner) -> None:
        lock.acquire(who)
        order.append(who)
        lock.release()

    waiting = []
    for who in asked:
        waiting.append(gevent.spawn(ask, who))
        gevent.sleep(0)
    lock.release()
    gevent.joinall(waiting, timeout=5)
    return order


EVE, ANN, BOB = (Owner("here", name) for name in ("eve", "ann", "bob"))
FAR = Owner("there", "zoe")


def test_whoever_asks_often_waits_behind_those_who_ask_once() -> None:
    assert order_of([EVE, EVE, EVE, ANN, BOB]) == [EVE, ANN, BOB, EVE, EVE]


def test_network_of_many_accounts_waits_behind_one_of_few() -> None:
    assert order_of([EVE, ANN, BOB, EVE, FAR]) == [EVE, FAR, ANN, BOB, EVE]


def test_whoever_had_no_turn_lately_goes_before_those_who_had() -> None:
    lock = FairLock()
    for who in (EVE, ANN, Owner("else", "ned"), Owner("first")):
        lock.acquire(who)
        lock.release()

    assert order_of([EVE, ANN, BOB], lock) == [BOB, EVE, ANN]  # in one network
    assert order_of([EVE, Owner("else", "ned"), FAR], lock) == [FAR, Owner("else", "ned"), EVE]


def test_who_waits_for_less_gets_a_place_where_there_is_none_left() -> None:
    lock = FairLock()
    lock.acquire(Owner("first"))
    refused: list[Owner] = []

    def ask(who: Owner) -> None:
        try:
            lock.acquire(who)
        except TooBusy:
            refused.append(who)
        else:
            lock.release()

    waiting = []
    for who in (EVE, EVE, EVE, ANN, ANN, FAR):
        waiting.append(gevent.spawn(ask, who))
        gevent.sleep(0)
    made = [lock.make_room(who) for who in (BOB, FAR, Owner("else"), EVE, BOB)]
    gevent.sleep(0)

    # The network with most waiting gives, and in it the account with most, down to one each.
    assert made == [True, True, True, False, False]
    assert refused == [EVE, EVE, ANN]
    assert [lock.waiting(who) for who in (EVE, ANN, FAR)] == [1, 1, 1]
    lock.release()
    gevent.joinall(waiting, timeout=5)
    assert not any(lock.waiting(who) for who in (EVE, ANN, FAR))


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
