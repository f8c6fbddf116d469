"""What streams are told, read from the tables: each state once, in order, to those it concerns."""

import json

from app.messenger import groups
from tests.messenger.team import Team, kinds


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
        groups.add_member(group, eve.name)
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
        groups.remove_member(group, bob.name)
    ann.say(group, "two")

    assert kinds(bob.frames()) == ["room_left"]
    assert kinds(eve.frames()) == ["room", "message", "room", "message"]
    assert eve.frames()[2]["chat"]["members"] == sorted([ann.id, eve.id])


def test_a_chat_is_told_as_it_was_at_its_number(team: Team) -> None:
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


def test_the_epoch_stays(team: Team) -> None:
    epoch = team.events.epoch()
    assert epoch
    assert team.events.epoch() == epoch
