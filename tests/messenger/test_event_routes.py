"""Long-poll: what a stream brings, asked for by HTTP."""

import threading
import time
from typing import Any

import httpx
import pytest

from app.realtime.polls import POLLS_PER_USER
from tests.factories import Person
from tests.talk import messages_path

pytestmark = pytest.mark.server

EVENTS = "/messenger/api/events/"


def ask(person: Person, **query: object) -> tuple[list[dict[str, Any]], int]:
    """Return events and the cursor to go on with."""
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    response = person.get(f"{EVENTS}?{asked}")
    assert response.status_code == 200, response.text
    return response.json(), int(response.headers["X-Event-ID"])


def newest(person: Person) -> int:
    return int(person.get("/messenger/api/chats/").headers["X-Event-ID"])


def test_events_come_in_pages_and_the_cursor_leads_on(ann, bob, room) -> None:
    cursor = newest(ann)
    sent = [bob.post(messages_path(room), {"content": f"{n}"}).json() for n in range(5)]
    found: list[dict[str, Any]] = []
    while True:
        events, next_cursor = ask(ann, after=cursor, limit=2)
        assert len(events) <= 2
        if not events:
            break
        assert events[-1]["id"] <= next_cursor
        found += events
        cursor = next_cursor

    assert [each["message"] for each in found if each["type"] == "message"] == sent


def test_wait_ends_with_the_first_event(ann, bob, room) -> None:
    cursor = newest(ann)
    timer = threading.Timer(0.5, lambda: bob.post(messages_path(room), {"content": "here"}))
    timer.start()
    began = time.monotonic()
    events, after = ask(ann, after=cursor, wait=20)
    timer.join()

    assert events[0]["message"]["content"] == "here"
    assert 0.3 < time.monotonic() - began < 10
    assert after >= events[0]["id"]


def test_wait_without_an_event_ends_in_time_with_the_cursor(ann, room) -> None:
    cursor = newest(ann)
    began = time.monotonic()
    events, after = ask(ann, after=cursor, wait=1)

    assert (events, after >= cursor) == ([], True)
    assert time.monotonic() - began >= 1


def test_only_so_many_wait(ann, room) -> None:
    cursor = newest(ann)
    seconds: list[float] = []

    def wait() -> None:
        began = time.monotonic()
        with httpx.Client(base_url=ann.url, headers=ann.bearer, timeout=30) as client:
            assert client.get(f"{EVENTS}?after={cursor}&wait=2").json() == []
        seconds.append(time.monotonic() - began)

    threads = [threading.Thread(target=wait) for _ in range(POLLS_PER_USER + 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(each >= 2 for each in seconds) == POLLS_PER_USER
    assert sum(each < 1.5 for each in seconds) == 2


@pytest.mark.parametrize("query", [{"after": 10**12}, {"after": 0, "epoch": "other"}])
def test_what_cannot_go_on_is_reset(ann, room, query) -> None:
    ((reset,), cursor) = ask(ann, **query)

    assert (reset["type"], reset["id"]) == ("reset", cursor)
    assert ask(ann, after=cursor, epoch=reset["epoch"]) == ([], cursor)


@pytest.mark.parametrize("query", ["", "?after=x", "?after=-1", "?after=1&wait=x"])
def test_wrong_parameter_is_named(ann, query) -> None:
    response = ann.get(EVENTS + query)

    assert response.status_code == 400
    assert response.json()["errors"].keys() == {"wait" if "wait" in query else "after"}


def test_large_messages_end_a_page(ann, bob, room) -> None:
    cursor = newest(ann)
    for _ in range(40):
        bob.post(messages_path(room), {"content": "😀" * 9_000})  # 36 kB
    response = ann.get(f"{EVENTS}?after={cursor}&limit=500")

    assert len(response.content) <= 1024 * 1024 + 100_000
    assert 20 < len(response.json()) < 40
