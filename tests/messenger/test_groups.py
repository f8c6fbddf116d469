"""Groups: who is in them, who may change what, and what happens when several do it at once."""

import json
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import func, select

from app.database.transactions import reading
from app.http.errors import ApiError
from app.messenger import group_members, groups
from app.messenger.drafts import Draft, Stored
from app.messenger.members import RoomNotFound
from app.messenger.models import Room
from app.messenger.store import store
from app.services import services
from tests.crowds import all_at_once
from tests.messenger.http import Caller, sign_up
from tests.messenger.rows import NOW
from tests.messenger.team import Team, kinds

ROUNDS = 5


@pytest.fixture
def people(app: Flask) -> tuple[Caller, Caller, Caller]:
    """Three who talk."""
    return sign_up(app, "ann"), sign_up(app, "bob"), sign_up(app, "eve")


def roles(caller: Caller, group: str) -> dict[str, str]:
    """Return who is in a group, as what."""
    return {each["username"]: each["role"] for each in caller.get(f"{group}members/")}


# Making


def test_a_group_is_made_once_for_one_client_id(people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    body = {"title": "Team", "members": [bob.name.upper(), ann.name, bob.name], "client_id": "c"}

    made = ann.do("POST", "/groups/", body, 201)
    again = ann.do("POST", "/groups/", body | {"title": "Another"}, 200)
    by_header = ann.ask(
        "POST", "/groups/", {"title": "x", "members": []}, headers={"Idempotency-Key": "c"}
    )
    of_bob = bob.do("POST", "/groups/", body, 201)

    assert made["members"] == sorted([ann.id, bob.id])
    assert again == made
    assert (by_header.status_code, by_header.json["id"]) == (200, made["id"])
    assert of_bob["id"] != made["id"]


def test_a_group_of_unknown_people_is_not_made(app: Flask, people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    answer = ann.ask("POST", "/groups/", {"title": "T", "members": [bob.name, "no.one", "nor I"]})

    assert answer.status_code == 400
    (sentence,) = answer.json["errors"]["members"]
    assert "no.one, nor I" in sentence
    assert ann.get("/chats/") == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"members": []}, "title"),
        ({"title": " ", "members": []}, "title"),
        ({"title": "x" * 101, "members": []}, "title"),
        ({"title": "T"}, "members"),
        ({"title": "T", "members": "bob"}, "members"),
        ({"title": "T", "members": [5]}, "members"),
        ({"title": "T", "members": ["\0"]}, "members"),
        ({"title": "T", "members": [], "history": "some"}, "history"),
        ({"title": "T", "members": [], "client_id": ""}, "client_id"),
    ],
)
def test_bad_groups_are_refused(people: tuple[Caller, ...], body: object, field: str) -> None:
    answer = people[0].ask("POST", "/groups/", body)

    assert (answer.status_code, list(answer.json["errors"])) == (400, [field])


def test_a_group_has_a_thousand_members_at_most(
    app: Flask, people: tuple[Caller, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob, eve = people
    monkeypatch.setattr(groups, "GROUP_MEMBERS_MAX", 2)
    group = ann.group(bob)

    assert ann.refused("POST", f"{group}members/", {"username": eve.name}) == (409, "group_full")
    body = {"title": "T", "members": [bob.name, eve.name]}
    assert ann.refused("POST", "/groups/", body) == (409, "group_full")


def test_a_person_is_in_a_thousand_rooms_at_most(
    people: tuple[Caller, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob, eve = people
    monkeypatch.setattr(groups, "ROOMS_PER_USER_MAX", 2)
    bob.group()
    bob.group()
    group = ann.group(eve)

    assert ann.refused("POST", f"{group}members/", {"username": bob.name}) == (
        409,
        "too_many_rooms",
    )
    assert bob.refused("POST", "/groups/", {"title": "T", "members": []}) == (409, "too_many_rooms")


# Changing


def test_administrators_change_a_group_and_members_mute_it(people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    group = ann.group(bob)

    changed = ann.do("PATCH", group, {"title": "New", "history": "joined"})
    assert (changed["display_name"], changed["history"]) == ("New", "joined")
    assert bob.refused("PATCH", group, {"title": "Mine"}) == (403, "not_admin")
    assert bob.do("PATCH", group, {"muted": True})["muted"] is True
    assert ann.get(group)["muted"] is False
    assert ann.do("PATCH", group, {}) == ann.get(group)


def test_a_room_of_two_can_only_be_muted(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    room = ann.room_with(bob)

    assert ann.do("PATCH", room, {"muted": True})["muted"] is True
    for body in ({"title": "T"}, {"history": "all"}, {"image": None}):
        assert ann.refused("PATCH", room, body) == (409, "not_a_group")
    member = {"username": eve.name}
    assert ann.refused("POST", f"{room}members/", member) == (409, "not_a_group")
    for name in (ann.name, bob.name):
        assert ann.refused("DELETE", f"{room}members/{name}/") == (409, "not_a_group")
        role = {"role": "admin"}
        assert ann.refused("PATCH", f"{room}members/{name}/", role) == (409, "not_a_group")
    assert list(roles(ann, room)) == sorted([ann.name, bob.name], key=[ann.name, bob.name].index)


def test_the_picture_of_a_group_is_replaced_and_removed(
    app: Flask, people: tuple[Caller, ...]
) -> None:
    ann, bob, _ = people
    group = ann.group(bob)
    store_of_pictures: Any = services(app).media

    def send(color: str) -> Any:
        out = BytesIO()
        Image.new("RGB", (64, 64), color).save(out, "PNG")
        return ann.ask("PATCH", group, data={"image": (BytesIO(out.getvalue()), "me.png")})

    first, second = send("red").json["image"], send("blue").json["image"]
    assert first != second
    assert list(store_of_pictures.names()) == [second.removeprefix("/media/")]
    assert bob.get(group)["image"] == second
    assert ann.ask("PATCH", group, data={"image": (BytesIO(b"x"), "x.png")}).status_code == 400
    assert ann.do("PATCH", group, {"image": None})["image"] is None
    assert list(store_of_pictures.names()) == []


# Members


def test_any_member_adds_and_administrators_remove(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    group = ann.group(bob)

    added = bob.do("POST", f"{group}members/", {"username": eve.name.upper()}, 201)
    again = ann.do("POST", f"{group}members/", {"username": eve.name}, 200)
    assert added["id"] == eve.id
    assert added["role"] == "member"
    assert again == added
    assert bob.refused("DELETE", f"{group}members/{eve.name}/") == (403, "not_admin")
    ann.do("DELETE", f"{group}members/{eve.name}/", status=204)
    for method, path in (
        ("GET", group),
        ("GET", f"{group}messages/"),
        ("POST", f"{group}members/"),
    ):
        assert eve.refused(method, path, {"username": bob.name})[0] == 404
    assert ann.refused("DELETE", f"{group}members/{eve.name}/") == (404, "member_not_found")
    assert ann.refused("POST", f"{group}members/", {"username": "nobody"}) == (
        404,
        "user_not_found",
    )
    assert roles(ann, group) == {ann.name: "admin", bob.name: "member"}


def test_there_is_always_an_administrator(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    group = ann.group(bob)
    ann.do("POST", f"{group}members/", {"username": eve.name}, 201)
    mine = f"{group}members/{ann.name}/"

    assert ann.refused("PATCH", mine, {"role": "member"}) == (409, "last_admin")
    assert bob.refused("PATCH", f"{group}members/{bob.name}/", {"role": "admin"})[1] == "not_admin"
    assert ann.do("PATCH", f"{group}members/{bob.name}/", {"role": "admin"})["role"] == "admin"
    ann.do("PATCH", mine, {"role": "member"})
    assert roles(eve, group) == {ann.name: "member", bob.name: "admin", eve.name: "member"}
    bob.do("DELETE", f"{group}members/{bob.name}/", status=204)
    assert roles(eve, group) == {ann.name: "admin", eve.name: "member"}, "the longest member"


def test_who_comes_back_reads_all_and_has_nothing_unread(people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    group = ann.group(bob)
    ann.say(group, "before")
    bob.do("DELETE", f"{group}members/{bob.name}/", status=204)
    ann.say(group, "meanwhile")
    ann.do("POST", f"{group}members/", {"username": bob.name}, 201)

    assert bob.texts(group) == ["before", "meanwhile"]
    assert bob.get(group)["unread"] == 0


def test_strangers_see_nothing_of_a_group(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    group = ann.group(bob)
    requests: list[tuple[str, str, Any]] = [
        ("GET", group, None),
        ("PATCH", group, {"title": "T"}),
        ("GET", f"{group}members/", None),
        ("POST", f"{group}members/", {"username": eve.name}),
        ("PATCH", f"{group}members/{ann.name}/", {"role": "member"}),
        ("DELETE", f"{group}members/{ann.name}/", None),
        ("GET", f"{group}messages/", None),
        ("POST", f"{group}messages/", {"content": "x"}),
    ]

    for method, path, body in requests:
        assert eve.refused(method, path, body) == (404, "room_not_found")
    assert eve.get("/chatrooms/") == []


def test_an_erased_user_leaves_all_groups(app: Flask, people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    group = ann.group(bob, eve)
    sent = ann.say(group, "hello")
    newest = Team(app).events.newest_event_id()
    ann.do("DELETE", "/accounts/api/users/me/", {"password": "correct horse battery"}, 204)

    assert roles(bob, group) == {bob.name: "admin", eve.name: "member"}
    assert bob.get(f"{group}messages/")[0] == sent | {"user": f"deleted~{ann.id}"}
    page = Team(app).events.events_after(bob.id, newest, 100)
    told = [json.loads(frame) for _, frame in page.frames]
    as_administrator, without_her, erased = told
    assert kinds(told) == ["room", "room", "user"]
    assert as_administrator["chat"]["role"] == "admin"
    assert ann.id not in without_her["chat"]["members"]
    assert (erased["user"]["id"], erased["user"]["username"]) == (ann.id, f"deleted~{ann.id}")


# At the same moment


def attempt(team: Team, job: partial[Any]) -> Any:
    """Return what a use case returns, or the error that it raises."""
    with team.app.app_context():
        try:
            return job()
        except ApiError as error:
            return error


def test_a_group_is_made_once_by_all_who_repeat_it(team: Team) -> None:
    ann, bob = team.people(2)
    job = partial(groups.create_group, ann.id, "Team", [bob.name], "all", "c")

    made = all_at_once([partial(attempt, team, job) for _ in range(8)])

    assert len({room_id for room_id, _ in made}) == 1
    assert [is_new for _, is_new in made].count(True) == 1
    with reading(team.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Room)) == 1


def test_one_of_the_last_two_administrators_who_leave_hands_over(team: Team) -> None:
    for _ in range(ROUNDS):
        ann, bob, eve = team.people(3)
        group = ann.group(bob, eve)
        with team.app.app_context():
            group_members.change_role(group, bob.name, "admin")
        places = [person.in_room(group.room_name) for person in (ann, bob)]

        outcomes = all_at_once(
            [
                partial(attempt, team, partial(group_members.remove_member, place, place.username))
                for place in (*places, *places)
            ]
        )

        left = [each for each in outcomes if each is None]
        assert len(left) == 2
        assert all(each is None or isinstance(each, RoomNotFound) for each in outcomes)
        with team.app.app_context():
            (rest,) = group_members.list_members(group.room_id)
        assert (rest["id"], rest["role"]) == (eve.id, "admin")


def test_nothing_is_sent_after_its_sender_was_removed(team: Team) -> None:
    for _ in range(ROUNDS):
        ann, bob = team.people(2)
        group = ann.group(bob)
        place = bob.in_room(group.room_name)

        def send(place: Any = place) -> list[Any]:
            return [store(team.engine, [Draft.of(place, "x")], NOW)[0] for _ in range(10)]

        removal = partial(attempt, team, partial(group_members.remove_member, group, bob.name))
        *sent, removed = all_at_once([send, send, removal])

        assert removed is None
        _, left_id = team.events.members(group.room_id)[bob.id]
        for outcomes in sent:
            stored = [each for each in outcomes if isinstance(each, Stored)]
            assert all(each.id < left_id for each in stored)
            refused = outcomes[len(stored) :]
            assert all(isinstance(each, RoomNotFound) for each in refused)


def test_members_who_are_still_there_go_on_writing_after_somebody_was_removed(team: Team) -> None:
    ann, bob, eve = team.people(3)
    group = ann.group(bob, eve)
    place = eve.in_room(group.room_name)
    with team.app.app_context():
        group_members.remove_member(group, bob.name)

    first, second = store(team.engine, [Draft.of(place, "x"), Draft.of(place, "y", "c")], NOW)

    assert isinstance(first, Stored)
    assert isinstance(second, Stored)
    assert second.prev_id == first.id
    (again,) = store(team.engine, [Draft.of(place, "y", "c")], NOW)
    assert isinstance(again, Stored)
    assert again.is_repeat
