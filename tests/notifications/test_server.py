"""Notifications of real servers, whose workers are killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import Person, make_person
from tests.notifications import phones
from tests.notifications.phones import Phone, PushService
from tests.servers import Server
from tests.talk import messages_path

PUSH = "/accounts/api/push/"


@pytest.fixture
def service() -> Iterator[PushService]:
    with phones.push_service() as service:
        yield service


def serve(folder: Path, url: str, workers: int = 1) -> Server:
    server = Server(
        folder,
        {"DATABASE_URL": url, "PUSH_ALLOW_PRIVATE": "true", "WEB_CONCURRENCY": str(workers)},
    )
    server.migrate()
    server.start()
    return server


def kill(server: Server) -> None:
    assert server.process
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def subscribe(person: Person, phone: Phone) -> None:
    answer = person.post(PUSH, phone.subscription)
    assert answer.status_code == 201, answer.text


def say(author: Person, reader: Person, content: str) -> None:
    room = author.open_room(reader)
    answer = author.post(messages_path(room), {"content": content})
    assert answer.status_code == 201, answer.text


@pytest.mark.long  # five seconds pass before somebody is notified, and half a minute after a kill
@pytest.mark.parametrize("workers", [1, 2], ids=["SQLite", "PostgreSQL, two workers"])
def test_what_was_said_before_a_kill_is_notified_after_it_once(
    tmp_path: Path, postgresql_url: str, service: PushService, workers: int
) -> None:
    url = postgresql_url if workers > 1 else f"sqlite:///{tmp_path / 'beseda.db'}"
    server = serve(tmp_path, url, workers)
    try:
        ann, bob = make_person(server.url), make_person(server.url)
        phone = service.phone("/bob")
        subscribe(bob, phone)
        say(ann, bob, "before")
        assert [each["body"] for each in phone.wait()] == ["before"]

        say(ann, bob, "while it dies")
        kill(server)
        assert len(phone.requests()) == 1  # it was too early for the second
        server.start()
        phone.wait(2, seconds=60)

        # Whether the first one was settled may have been lost with the worker: it is told with
        # the second one then, since both are of one room.
        assert [each["body"] for each in phone.shown()] == ["before", "while it dies"]
    finally:
        server.stop()


@pytest.mark.long
def test_worker_that_is_stopped_hands_over_at_once(tmp_path: Path, service: PushService) -> None:
    server = serve(tmp_path, f"sqlite:///{tmp_path / 'beseda.db'}")
    try:
        ann, bob = make_person(server.url), make_person(server.url)
        phone = service.phone("/bob")
        subscribe(bob, phone)
        say(ann, bob, "before")
        phone.wait()
        say(ann, bob, "meanwhile")
        server.stop()
        server.start()

        assert [each["body"] for each in phone.wait(2)] == ["before", "meanwhile"]
    finally:
        server.stop()
