"""What streams are told, read from the tables: each state once, in order, to those it concerns."""

import json
import random
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select

from app.database.transactions import reading
from app.messenger import group_members, groups
from app.messenger.event_frames import MessageFrames
from app.messenger.group_members import MemberNotFound
from app.messenger.members import Membership
from app.messenger.message_changes import MessageNotFound, delete_message, edit_message
from app.messenger.models import Message
from tests.messenger.team import Person, Team, kinds


def test_a_new_room_and_its_messages_come_to_both(team: Team) -> None:
    ann, bob, eve = team.people(3)
    room = ann.room_with(bob)
    first = ann.say(room, "hi")

    for person, other in ((ann, bob), (bob, ann)):
        opened, message = person.frames()
        assert (opened["type"], opened["chat"]["display_name"]) == ("room", other.name)
        assert opened["id"] == opened["chat"]["joined_id"] < message["id"] == first.id
        assert message == {
            "type": "message",
            "id": first.id,
            "room": room.room_name,
            "message": json.loads(first.payload),
        }
    assert eve.frames() == []


def test_a_page_goes_on_where_the_one_before_ended(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    for number in range(5):
        ann.say(room, str(number))

    assert bob.frames(limit=2) == bob.frames(limit=100)
    everything = bob.frames()
    for position, frame in enumerate(everything):
        assert bob.frames(after=frame["id"]) == everything[position + 1 :]


def test_who_joins_hears_of_the_group_and_then_what_is_said(team: Team) -> None:
    ann, bob, eve = team.people(3)
    group = ann.group(bob)
    ann.say(group, "before")
    with team.app.app_context():
        group_members.add_member(group, eve.name)
    after = ann.say(group, "after")

    joined, changed, message = eve.frames()
    assert kinds([joined, changed, message]) == ["room", "room", "message"]
    assert joined["id"] == joined["chat"]["joined_id"] < changed["id"] < message["id"] == after.id
    assert joined["chat"]["last_message"]["content"] == "before", "which is history"
    assert [frame["id"] for frame in bob.frames() if frame["type"] == "room"][1:] == [changed["id"]]


def test_who_left_hears_so_and_nothing_more(team: Team) -> None:
    ann, bob, eve = team.people(3)
    group = ann.group(bob, eve)
    ann.say(group, "one")
    with team.app.app_context():
        group_members.remove_member(group, bob.name)
    ann.say(group, "two")

    assert kinds(bob.frames()) == ["room_left"]
    assert kinds(eve.frames()) == ["room", "message", "room", "message"]
    assert eve.frames()[2]["chat"]["members"] == sorted([ann.id, eve.id])


def test_chat_of_an_event_is_as_it_was_at_its_number(team: Team) -> None:
    # What comes later on the same stream must not be counted twice.
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    ann.say(room, "one")
    ann.say(room, "two")

    opened = bob.frames()[0]
    assert (opened["chat"]["unread"], opened["chat"]["last_message"]) == (0, None)
    assert bob.chat(room)["unread"] == 2
    assert bob.chat(room)["last_message"]["content"] == "two"


def test_all_workers_read_the_same_events_for_those_who_are_here(team: Team) -> None:
    ann, bob, eve = team.people(3)
    room = ann.room_with(bob)
    ann.say(room, "hi")
    group = eve.group(ann)
    eve.say(group, "ho")

    for here in ([], [ann], [bob, eve], [ann, bob, eve]):
        page = team.events.events_between(0, 100, [person.id for person in here])
        assert page.is_last
        assert page.cursor == team.events.newest_event_id()
        for person in here:
            told = []
            members = {each.room_id: team.events.members(each.room_id) for each in (room, group)}
            for event in page.events:
                frame = (event.frames or {}).get(person.id)
                if frame is None and event.room_id is not None:
                    joined_id, left_id = members[event.room_id].get(person.id, (event.id, None))
                    if joined_id < event.id and (left_id is None or left_id > event.id):
                        frame = event.frame
                if frame:
                    told.append(json.loads(frame))
            assert told == person.frames()


def test_a_range_without_anything_for_me_is_passed_quickly(team: Team) -> None:
    ann, bob = team.people(2)
    for _ in range(3):
        ann.say(ann.group(), "to myself")

    page = team.events.events_after(bob.id, 0, 100)

    assert (page.frames, page.cursor, page.is_last) == ([], team.events.newest_event_id(), True)


def test_page_of_long_messages_ends_early(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    for number in range(20):
        ann.say(room, f"{number}" + "😀" * 9_999)
    whole = bob.frames()

    page = team.events.events_after(bob.id, 0, 100)
    cursor, told = page.cursor, [frame for _, frame in page.frames]
    assert not page.is_last
    assert sum(map(len, told)) < 9 * 40_000
    while not page.is_last:
        page = team.events.events_after(bob.id, cursor, 3)
        cursor, told = page.cursor, [*told, *(frame for _, frame in page.frames)]

    assert [json.loads(each) for each in told] == whole
    assert sum(frame["type"] == "message" for frame in whole) == 20


def test_the_epoch_stays(team: Team) -> None:
    epoch = team.events.epoch()
    assert epoch
    assert team.events.epoch() == epoch


class Client:
    """Somebody who keeps the state of all rooms from the stream alone, and is away at times."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.cursor = 0
        self.rooms: dict[str, dict[int, str]] = {}
        self.joined: dict[str, int] = {}

    def catch_up(self, limit: int) -> None:
        """Apply what has happened since."""
        for frame in self.person.frames(self.cursor, limit):
            assert frame["id"] > self.cursor
            self.cursor = frame["id"]
            self.apply(frame)

    def apply(self, frame: dict[str, Any]) -> None:
        """Apply one frame."""
        room = frame.get("room", "")
        if frame["type"] == "room" and self.joined.get(room) != frame["chat"]["joined_id"]:
            self.joined[room] = frame["chat"]["joined_id"]
            self.rooms[room] = {}
        elif frame["type"] == "room_left":
            self.rooms.pop(room, None)
            self.joined.pop(room, None)
        elif frame["type"] == "message" or (
            frame["type"] == "message_edited" and frame["message"]["id"] in self.rooms[room]
        ):
            self.rooms[room][frame["message"]["id"]] = frame["message"]["content"]
        elif frame["type"] == "message_deleted":
            self.rooms[room].pop(frame["message"]["id"], None)


@pytest.mark.parametrize("seed", range(4))
def test_who_is_away_at_times_knows_in_the_end_what_the_tables_say(team: Team, seed: int) -> None:
    chance = random.Random(seed)
    founder, *others = people = team.people(4)
    places = [founder.group(*others), founder.group(others[0])]
    clients = [Client(person) for person in people]
    sent: list[tuple[Membership, int]] = []

    def act() -> None:
        place, other = chance.choice(places), chance.choice(others)
        what = chance.random()
        if what < 0.5 or not sent:
            sent.append((place, founder.say(place, f"{chance.random()}").id))
        elif what < 0.65:
            edit_message(*chance.choice(sent), f"edited {chance.random()}", -1)
        elif what < 0.75:
            delete_message(*chance.choice(sent))
        elif what < 0.87:
            group_members.add_member(place, other.name)
        elif what < 0.97:
            group_members.remove_member(place, other.name)
        else:
            groups.change_room(place, {"title": f"{chance.random()}"})

    for _ in range(60):
        with team.app.app_context(), suppress(MessageNotFound, MemberNotFound):
            act()
        if chance.random() < 0.3:
            chance.choice(clients).catch_up(chance.choice([1, 3, 100]))

    for client in clients:
        client.catch_up(100)
        own = client.person.chats()[0]
        assert client.rooms.keys() == {chat["name"] for chat in own}
        for chat in own:
            query = select(Message.id, Message.content).where(
                Message.room_id == chat["id"],
                Message.id > chat["joined_id"],
                Message.deleted_at.is_(None),
            )
            with reading(team.engine) as connection:
                expected = dict(connection.execute(query).all())
            assert client.rooms[chat["name"]] == expected


def test_frame_that_was_kept_is_replaced_when_its_message_changes(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    stored = ann.say(room, "first")
    ann.say(room, "x" * 100)
    assert bob.frames()[-2]["message"]["content"] == "first"

    with team.app.app_context():
        edit_message(room, stored.id, "second", -1)

    frames = [each["message"]["content"] for each in bob.frames() if each["type"] == "message"]
    assert frames == ["second", "x" * 100]


def test_only_so_many_bytes_of_frames_are_kept(team: Team, monkeypatch: Any) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    texts = [f"text {number}" for number in range(50)]
    for text in texts:
        ann.say(room, text)
    kept = team.events._frames = MessageFrames(bytes_max=2_000)

    for _ in range(2):
        heard = [each["message"]["content"] for each in bob.frames() if each["type"] == "message"]
        assert heard == texts
        assert 0 < sum(len(frame) for _, frame in kept._kept.values()) <= 2_000
