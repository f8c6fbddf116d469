"""The list of chats: what a client shows first, and the event id that it is complete up to."""

import threading
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import event, insert, text

from app.accounts.models import User
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.messenger import chats, group_members
from app.messenger.chats import MEMBERS_MAX
from app.messenger.models import RoomMember
from tests.crowds import all_at_once
from tests.factories import new_name
from tests.messenger.http import Caller, sign_up
from tests.messenger.team import Person, Team

ROUNDS = 60


@pytest.fixture
def people(app: Flask) -> tuple[Caller, Caller, Caller]:
    """Two who talk, and somebody else."""
    return sign_up(app, "ann"), sign_up(app, "bob"), sign_up(app, "eve")


def test_a_room_of_two_and_a_group_are_described(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    room = ann.room_with(bob)
    sent = bob.say(room, "Привет!")
    group = ann.group(bob, eve, title=" Команда ")

    pair, team = ann.get("/chats/")

    assert pair == {
        "id": pair["id"],
        "name": room.split("/")[2],
        "members": sorted([ann.id, bob.id]),
        "display_name": bob.name,
        "kind": "pair",
        "members_count": 2,
        "image": "/media/user_images/default.jpg",
        "joined_id": pair["joined_id"],
        "muted": False,
        "read_id": pair["joined_id"],
        "peer_read_id": pair["peer_read_id"],
        "unread": 1,
        "event_id": sent["id"],
        "last_message": sent,
    }
    assert team == {
        "id": team["id"],
        "name": f"g~{team['id']}",
        "members": sorted([ann.id, bob.id, eve.id]),
        "display_name": "Команда",
        "kind": "group",
        "members_count": 3,
        "role": "admin",
        "image": None,
        "history": "all",
        "joined_id": team["joined_id"],
        "muted": False,
        "read_id": team["joined_id"],
        "unread": 0,
        "event_id": team["joined_id"],
        "last_message": None,
    }
    assert ann.get(group) == team
    assert [chat["id"] for chat in eve.get("/chats/")] == [team["id"]]
    rooms = ann.get("/chatrooms/")
    assert rooms == [
        {name: chat[name] for name in ("id", "name", "members", "display_name")}
        for chat in (pair, team)
    ]
    assert ann.get("/user/chatrooms/") == rooms


def test_the_list_says_up_to_which_event_it_is_complete(
    app: Flask, people: tuple[Caller, ...]
) -> None:
    ann, bob, eve = people
    newest = Team(app).events.newest_event_id
    assert ann.ask("GET", "/chats/").headers["X-Event-ID"] == "0"
    ann.say(ann.room_with(bob), "x")

    for caller in (ann, eve):
        answer = caller.ask("GET", "/chats/")
        assert answer.headers["X-Event-ID"] == str(newest())
    etag = answer.headers["ETag"]
    ann.say(ann.room_with(bob), "y")
    again = eve.ask("GET", "/chats/", headers={"If-None-Match": etag})
    assert (again.status_code, again.headers["X-Event-ID"]) == (304, str(newest()))


def test_of_a_large_room_the_members_are_counted(team: Team) -> None:
    ann = team.person()
    group = ann.group()
    with writing(team.engine) as connection:
        for number in range(MEMBERS_MAX):
            name = new_name()
            user_id = connection.scalar(
                insert(User)
                .values(
                    username=name,
                    username_key=name,
                    email=name,
                    email_key=name,
                    password_hash="",
                    created_at=utcnow(),
                )
                .returning(User.id)
            )
            connection.execute(
                insert(RoomMember).values(
                    room_id=group.room_id, user_id=user_id, joined_id=number, changed_id=number
                )
            )

    chat = ann.chat(group)

    assert chat["members_count"] == MEMBERS_MAX + 1
    assert "members" not in chat


def test_newcomers_of_a_group_see_what_its_history_says(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    for history, expected in (("all", ["before", "after"]), ("joined", ["after"])):
        group = ann.group(bob, history=history)
        before = ann.say(group, "before")
        ann.do("POST", f"{group}members/", {"username": eve.name}, 201)
        chat = eve.get(group)
        assert chat["unread"] == 0
        assert (chat["last_message"] or {}).get("content") == (
            "before" if history == "all" else None
        )
        ann.say(group, "after")

        assert eve.texts(group) == expected
        assert eve.texts(group, "?deleted=true") == expected
        assert bob.texts(group) == ["before", "after"]
        assert eve.get(group)["unread"] == 1
        status = 200 if history == "all" else 404
        for path in (f"messages/{before['id']}/", f"messages/?around={before['id']}"):
            assert eve.ask("GET", group + path).status_code == status
        reply = eve.ask("POST", f"{group}messages/", {"content": "x", "reply_to": before["id"]})
        assert reply.status_code == (201 if history == "all" else 400)


def test_a_snapshot_and_the_stream_after_it_are_everything_once(team: Team) -> None:
    # Three writers write while a client loads its list and reads the stream from its event id on:
    # what the list counts and what the stream brings are together what there is.
    people = team.people(3)
    rooms = [one.room_with(two) for one, two in ((people[0], people[1]), (people[0], people[2]))]
    rooms.append(people[0].group(people[1], people[2]))
    me = people[0]
    wrong: list[object] = []
    is_over = threading.Event()

    def write(writer: Person, others: list[str]) -> None:
        number = 0
        while not is_over.is_set() and number < 400:
            number += 1
            writer.say(others[number % len(others)], f"{writer.id} {number}")

    def look() -> None:
        try:
            for _ in range(ROUNDS):
                found, at = me.chats()
                page = team.events.events_after(me.id, at, 1000)
                check(found, at, page)
        finally:
            is_over.set()

    def check(found: list[dict[str, object]], at: int, page: object) -> None:
        numbers = [number for number, _ in page.frames]  # type: ignore[attr-defined]
        if numbers != sorted(set(numbers)) or any(number <= at for number in numbers):
            wrong.append(("order", at, numbers))
        told = {n for n, frame in page.frames if frame.startswith(b'{"type":"message"')}  # type: ignore[attr-defined]
        with reading(team.engine) as connection:
            rows = connection.execute(
                text("SELECT id, room_id, user_id FROM messages WHERE id <= :up_to"),
                {"up_to": page.cursor},  # type: ignore[attr-defined]
            ).all()
        if {row.id for row in rows if row.id > at} != told:
            wrong.append(("gap", at, page.cursor))  # type: ignore[attr-defined]
        for chat in found:
            of_room = [r.id for r in rows if r.room_id == chat["id"] and r.id <= at]
            foreign = [
                r.id
                for r in rows
                if r.room_id == chat["id"]
                and r.id <= at
                and r.user_id != me.id
                and r.id > chat["read_id"]
            ]
            newest = (chat["last_message"] or {}).get("id")  # type: ignore[attr-defined]
            if newest != max(of_room, default=None) or chat["unread"] != min(len(foreign), 1000):
                wrong.append(("snapshot", at, chat))

    all_at_once(
        [
            partial(write, people[1], [rooms[0].room_name, rooms[2].room_name]),
            partial(write, people[2], [rooms[1].room_name, rooms[2].room_name]),
            partial(write, me, [rooms[2].room_name]),
            look,
        ]
    )

    assert wrong == []


def test_the_whole_list_is_one_statement(team: Team) -> None:
    ann, bob = team.people(2)
    for _ in range(5):
        ann.say(ann.group(bob), "x")
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(team.engine, "before_cursor_execute", note)
    try:
        with reading(team.engine) as connection:
            found, _ = chats.list_chats(connection, bob.id)
    finally:
        event.remove(team.engine, "before_cursor_execute", note)

    assert (len(found), len(statements)) == (5, 1)


def test_who_left_is_shown_nothing(team: Team) -> None:
    ann, bob = team.people(2)
    group = ann.group(bob)
    with team.app.app_context():
        group_members.remove_member(bob.in_room(group.room_name), bob.name)

    assert bob.chats()[0] == []
    place = (1, group.room_id, bob.id)
    with reading(team.engine) as connection:
        assert chats.find_chats(connection, [place]) == {}
