"""Editing and deleting messages: who may, for how long, and what everybody sees of it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count

import pytest
from flask import Flask
from sqlalchemy import update

from app.clock import utcnow
from app.database.transactions import reading, writing
from app.http.errors import ApiError
from app.messenger.drafts import Stored
from app.messenger.history import MessageHistory
from app.messenger.members import Membership
from app.messenger.message_changes import (
    MessageNotFound,
    delete_message,
    edit_message,
    get_message,
)
from app.messenger.models import Message
from app.services import services
from app.social.blocks import Blocked, block
from tests.crowds import all_at_once
from tests.messenger.http import Caller, sign_up
from tests.messenger.team import Team, kinds
from tests.talk import SECONDS

ROUNDS = 5


@pytest.fixture
def people(app: Flask) -> tuple[Caller, Caller, Caller]:
    """Two who talk, and a stranger."""
    return sign_up(app, "ann"), sign_up(app, "bob"), sign_up(app, "eve")


def age(app: Flask, message_id: int, days: int) -> None:
    """Let a message be older than it is."""
    with writing(services(app).engine) as connection:
        old = utcnow() - timedelta(days=days)
        connection.execute(update(Message).where(Message.id == message_id).values(timestamp=old))


def allow_edits_for(app: Flask, seconds: int) -> None:
    """Change the setting."""
    parts = services(app)
    parts.config = parts.config.model_copy(update={"EDIT_SECONDS": seconds})


def test_the_author_gives_a_message_another_text(people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    sent = ann.say(room, "Привет!", client_id="c1")
    path = f"{room}messages/{sent['id']}/"

    edited = ann.do("PATCH", path, {"content": "Привет всем!"})

    assert edited == sent | {"content": "Привет всем!", "edited_at": edited["edited_at"]}
    assert bob.get(path) == edited
    assert bob.get(f"{room}messages/") == [edited]


def test_the_same_text_again_changes_nothing(app: Flask, people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    sent = ann.say(room, "same")
    team = Team(app)
    before = team.events.newest_event_id()

    assert ann.do("PATCH", f"{room}messages/{sent['id']}/", {"content": "same"}) == sent
    assert team.events.newest_event_id() == before


def test_only_the_author_edits(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    room = ann.room_with(bob)
    path = f"{room}messages/{ann.say(room, 'mine')['id']}/"

    assert bob.refused("PATCH", path, {"content": "x"}) == (403, "not_yours")
    assert bob.refused("DELETE", path) == (403, "not_yours")
    for method in ("GET", "PATCH", "DELETE"):
        assert eve.refused(method, path, {"content": "x"}) == (404, "room_not_found")
    assert ann.texts(room) == ["mine"]


@pytest.mark.parametrize("content", ["", " ", None, 5, "x" * 10_001, "\0"])
def test_a_bad_text_is_refused(people: tuple[Caller, ...], content: object) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    sent = ann.say(room, "good")

    answer = ann.ask("PATCH", f"{room}messages/{sent['id']}/", {"content": content})

    assert answer.status_code == 400
    assert "content" in answer.json["errors"]
    assert ann.texts(room) == ["good"]


def test_a_message_can_be_edited_for_a_day_and_deleted_for_ever(
    app: Flask, people: tuple[Caller, ...]
) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    path = f"{room}messages/{(message_id := ann.say(room, 'old')['id'])}/"
    age(app, message_id, days=2)

    assert ann.refused("PATCH", path, {"content": "x"}) == (403, "edit_too_late")
    allow_edits_for(app, -1)
    assert ann.do("PATCH", path, {"content": "new"})["content"] == "new"
    allow_edits_for(app, 0)
    assert ann.refused("PATCH", path, {"content": "x"}) == (403, "edit_too_late")
    ann.do("DELETE", path, status=204)
    assert ann.texts(room) == []


def test_of_a_deleted_message_its_place_is_left(app: Flask, people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    first = ann.say(room, "first")
    gone = ann.say(room, "secret", client_id="c1")
    last = ann.say(room, "last")
    path = f"{room}messages/{gone['id']}/"

    ann.do("DELETE", path, status=204)
    ann.do("DELETE", path, status=204)

    assert bob.refused("GET", path) == (404, "message_not_found")
    assert ann.refused("PATCH", path, {"content": "x"}) == (404, "message_not_found")
    assert bob.texts(room) == ["first", "last"]
    assert bob.texts(room, "?limit=2") == ["first", "last"], "the page is filled"
    shown, place, _ = bob.get(f"{room}messages/?deleted=true")
    assert shown["id"] == first["id"]
    assert place.keys() == {"id", "user", "timestamp", "deleted_at"}
    assert (place["id"], place["user"]) == (gone["id"], ann.name)
    (chat,) = bob.get("/chats/")
    assert chat["last_message"]["id"] == last["id"]
    again = ann.ask("POST", f"{room}messages/", {"content": "secret", "client_id": "c1"})
    assert (again.status_code, again.json["code"]) == (409, "message_deleted")
    with reading(services(app).engine) as connection:
        texts = connection.exec_driver_sql("SELECT content FROM messages ORDER BY id").all()
    assert [text for (text,) in texts] == ["first", "", "last"]


def test_the_history_of_a_channel_passes_a_newest_message_that_was_deleted(
    app: Flask, people: tuple[Caller, ...]
) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    first, last = ann.say(room, "first"), ann.say(room, "last")
    ann.do("DELETE", f"{room}messages/{last['id']}/", status=204)
    room_id = ann.get(room)["id"]

    read = MessageHistory(services(app).engine).after(room_id, 0, 10)

    assert [(message_id, payload is None) for message_id, payload in read] == [
        (first["id"], False),
        (last["id"], True),
    ]


def test_administrators_of_a_group_delete_what_others_wrote(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    group = ann.group(bob, eve)
    path = f"{group}messages/{bob.say(group, 'rude')['id']}/"

    assert eve.refused("DELETE", path) == (403, "not_yours")
    assert ann.refused("PATCH", path, {"content": "nice"}) == (403, "not_yours")
    ann.do("DELETE", path, status=204)
    assert eve.texts(group) == []


def test_streams_are_told_the_last_state_only(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    kept, gone = ann.say(room, "kept"), ann.say(room, "gone")
    seen = team.events.newest_event_id()
    with team.app.app_context():
        edit_message(room, kept.id, "once", -1)
        edit_message(room, kept.id, "twice", -1)
        edit_message(room, gone.id, "once", -1)
        delete_message(room, gone.id)

    edited, deleted = [f for f in bob.frames(after=seen) if f["type"] != "read"]
    assert edited["type"] == "message_edited"
    assert edited["message"]["content"] == "twice"
    assert edited["message"]["id"] == kept.id < edited["id"]
    assert deleted["type"] == "message_deleted"
    assert deleted["message"].keys() == {"id", "deleted_at"}
    everything = [f for f in bob.frames() if f["type"] != "read"]
    assert kinds(everything) == ["room", "message", "message_edited", "message_deleted"]
    assert everything[1]["message"]["content"] == "twice"


def test_a_deletion_wins_against_an_edit_at_the_same_moment(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)

    def attempt(job: partial[object]) -> object:
        with team.app.app_context():
            try:
                return job()
            except ApiError as error:
                return error

    for number in range(ROUNDS):
        sent = ann.say(room, str(number))
        outcomes = all_at_once(
            [
                partial(attempt, partial(edit_message, room, sent.id, "edited", -1)),
                partial(attempt, partial(delete_message, room, sent.id)),
                partial(attempt, partial(edit_message, room, sent.id, "edited too", -1)),
            ]
        )
        assert outcomes[1] is None
        assert all(isinstance(each, dict | MessageNotFound) for each in (outcomes[0], outcomes[2]))
    frames = [f for f in bob.frames() if f["type"] not in ("read", "room")]
    assert kinds(frames) == ["message_deleted"] * ROUNDS


def test_nothing_is_edited_after_a_block_was_answered(team: Team) -> None:
    for _ in range(ROUNDS):
        ann, bob = team.people(2)
        room = ann.room_with(bob)  # as it was before the block
        sent = ann.say(room, "hi")
        has_begun, is_over = threading.Event(), threading.Event()

        def edit_until_refused(
            room: Membership = room,
            sent: Stored = sent,
            has_begun: threading.Event = has_begun,
            is_over: threading.Event = is_over,
        ) -> None:
            with team.app.app_context():
                for number in count():
                    edit_message(room, sent.id, str(number), -1)
                    has_begun.set()
                    if is_over.wait(0.001):  # SQLite has one writer, and it is bob's turn
                        return

        with ThreadPoolExecutor() as pool, team.app.app_context():
            edits = pool.submit(edit_until_refused)
            try:
                assert has_begun.wait(SECONDS)
                block(bob.id, ann.name)
                text = get_message(room, sent.id)["content"]
                assert isinstance(edits.exception(SECONDS), Blocked)
                assert get_message(room, sent.id)["content"] == text
            finally:
                is_over.set()


def test_a_reply_names_a_message_of_the_same_room(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    room, other = ann.room_with(bob), ann.room_with(eve)
    first, elsewhere = ann.say(room, "first"), ann.say(other, "elsewhere")

    reply = bob.say(room, "reply", reply_to=first["id"])

    assert reply["reply_to"] == first["id"]
    for wrong in (elsewhere["id"], 0, 2**63, reply["id"] + 1000, "x", -1, True):
        answer = bob.ask("POST", f"{room}messages/", {"content": "x", "reply_to": wrong})
        assert answer.status_code == 400, wrong
        assert list(answer.json["errors"]) == ["reply_to"]
    ann.do("DELETE", f"{room}messages/{first['id']}/", status=204)
    assert bob.get(f"{room}messages/{reply['id']}/")["reply_to"] == first["id"]
    refused = bob.ask("POST", f"{room}messages/", {"content": "x", "reply_to": first["id"]})
    assert refused.status_code == 400


def test_a_window_has_a_message_in_its_middle(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    room = ann.room_with(bob)
    ids = [ann.say(room, str(number))["id"] for number in range(9)]
    ann.do("DELETE", f"{room}messages/{ids[3]}/", status=204)

    def around(message_id: int, more: str) -> list[str]:
        return bob.texts(room, f"?around={message_id}&{more}")

    assert around(ids[4], "limit=3") == ["2", "4", "5"]
    assert around(ids[4], "limit=4") == ["1", "2", "4", "5"]
    assert around(ids[4], "limit=1") == ["4"]
    assert around(ids[4], "limit=4&deleted=true") == ["2", None, "4", "5"]
    assert around(ids[0], "limit=4") == ["0", "1"]
    answer = bob.ask("GET", f"{room}messages/?around={ids[4]}&limit=2")
    assert 'rel="prev"' in answer.headers["Link"]
    assert 'rel="next"' in answer.headers["Link"]
    path = f"{room}messages/?around="
    assert bob.refused("GET", f"{path}{ids[3]}") == (404, "message_not_found")
    assert bob.refused("GET", f"{path}{ids[-1] + 1}") == (404, "message_not_found")
    assert eve.refused("GET", f"{path}{ids[4]}") == (404, "room_not_found")
    for wrong in ("x", "-1", f"{ids[4]}&before=5", f"{ids[4]}&after=5"):
        refused = bob.ask("GET", path + wrong)
        assert (refused.status_code, list(refused.json["errors"])) == (400, ["around"])
