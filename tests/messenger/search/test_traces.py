"""What was deleted or edited away: not found at once, and nowhere after its author has left."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from app.database.transactions import reading
from app.messenger.search import index as search_index
from app.services import services
from tests.factories import PASSWORD, Person, make_person
from tests.messenger.http import Caller, sign_up
from tests.servers import Server
from tests.talk import SECONDS, messages_path

SEARCH = "/messenger/api/search/"


def test_words_that_an_erased_author_took_back_are_nowhere(app: Flask) -> None:
    engine = services(app).engine
    ann, bob = sign_up(app, "ann"), sign_up(app, "bob")
    room = ann.room_with(bob)
    stays = ann.say(room, "stays")
    for number in range(30):
        edited, deleted = ann.say(room, f"zanzibar{number}"), ann.say(room, f"zanzibar {number}")
        search_index.index_all(engine, lambda _count: None)
        assert len(found(bob, f"zanzibar{number}")) == 1
        ann.do("PATCH", f"{room}messages/{edited['id']}/", {"content": f"harmless {number}"})
        ann.do("DELETE", f"{room}messages/{deleted['id']}/", status=204)
        assert found(bob, f"zanzibar{number}") == []

    ann.do("DELETE", "/accounts/api/users/me/", {"password": PASSWORD}, status=204)

    search_index.index_all(engine, lambda _count: None)
    assert found(bob, "zanzibar") == []
    assert found(bob, "stays") == [stays["id"]]
    if engine.dialect.name == "sqlite":
        left = Path(engine.url.database).parent.glob("beseda.db*")
        assert [path.name for path in left if b"zanzibar" in path.read_bytes()] == []
    else:
        with reading(engine) as connection:
            rows = connection.scalars(text("SELECT words::text FROM message_words")).all()
            words = connection.scalars(
                text("SELECT word FROM ts_stat('SELECT words FROM message_words')")
            ).all()
        assert any("harmless" in row for row in rows)
        assert not [each for each in (*rows, *words) if "zanzibar" in each]


def found(who: Caller, q: str) -> list[int]:
    return [each["id"] for each in who.get(f"/search/?q={q}")]


def test_words_come_within_a_second_and_go_at_once(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    path = messages_path(ann.open_room(bob))
    sent = ann.post(path, {"content": "Занзибар"}).json()
    wait_until(lambda: contents(bob, "занзибар") == ["Занзибар"])

    ann.http.patch(f"{path}{sent['id']}/", json={"content": "Мадагаскар"})

    assert contents(bob, "занзибар") == []
    wait_until(lambda: contents(bob, "мадагаскар") == ["Мадагаскар"])
    ann.http.delete(f"{path}{sent['id']}/")
    assert contents(bob, "мадагаскар") == []
    time.sleep(search_index.PAUSE_SECONDS * 3)  # and no indexer brings it back
    assert contents(bob, "мадагаскар") == []


def contents(who: Person, q: str) -> list[str]:
    return [each["content"] for each in who.get(SEARCH, params={"q": q}).json()]


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("away", ["edited", "deleted"])
def test_indexer_that_comes_late_brings_nothing_back(app: Flask, away: str) -> None:
    # Taken back before anybody has looked at it.
    ann, bob = sign_up(app, "ann"), sign_up(app, "bob")
    room = ann.room_with(bob)
    sent = ann.say(room, "zanzibar")
    if away == "edited":
        ann.do("PATCH", f"{room}messages/{sent['id']}/", {"content": "harmless"})
    else:
        ann.do("DELETE", f"{room}messages/{sent['id']}/", status=204)
    search_index.index_all(services(app).engine, lambda _count: None)
    assert found(bob, "zanzibar") == []
