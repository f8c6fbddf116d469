"""How far people have read: marks that only grow, merged, and what is left counted anew."""

import threading
from functools import partial, reduce
from random import Random
from time import monotonic

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.accounts.models import User
from app.database.transactions import reading, writing
from app.messenger.erasure import erase_marks
from app.messenger.mark_store import Move, ReadMark
from app.messenger.members import RoomNotFound
from app.messenger.models import RoomMember
from app.messenger.read_marks import ReadMarkWriter
from app.services import services
from tests.crowds import all_at_once
from tests.messenger.http import Caller, sign_up
from tests.messenger.rows import NOW
from tests.messenger.team import Team


@pytest.fixture
def people(app: Flask) -> tuple[Caller, Caller, Caller]:
    """Two who talk, and a stranger."""
    return sign_up(app, "ann"), sign_up(app, "bob"), sign_up(app, "eve")


def unread(caller: Caller) -> list[int]:
    """Return what is unread in each room of somebody."""
    return [chat["unread"] for chat in caller.get("/chats/")]


def test_messages_of_others_are_unread_until_they_are_marked(people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    ids = [ann.say(room, str(number))["id"] for number in range(4)]

    assert (unread(bob), unread(ann)) == ([4], [0])
    assert bob.do("POST", f"{room}read/", {"read_id": ids[1]}) == {"read_id": ids[1], "unread": 2}
    assert unread(bob) == [2]
    assert bob.do("POST", f"{room}read/", {"read_id": ids[0]}) == {"read_id": ids[1], "unread": 2}
    for number in (float(ids[3]), 2**62, 2.0**70):  # for JSON 9.0 is a whole number
        beyond = bob.do("POST", f"{room}read/", {"read_id": number})
        assert beyond == {"read_id": ids[3], "unread": 0}
    ann.say(room, "new")
    assert unread(bob) == [1]


def test_from_a_message_on_all_is_unread_again(people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    ids = [ann.say(room, str(number))["id"] for number in range(3)]
    bob.do("POST", f"{room}read/", {"read_id": ids[2]})

    lowered = bob.do("POST", f"{room}unread/", {"from_id": ids[1]})

    assert lowered == {"read_id": ids[1] - 1, "unread": 2}
    again = bob.do("POST", f"{room}unread/", {"from_id": ids[2]})
    assert again == lowered, "it does not grow by that"
    assert bob.do("POST", f"{room}unread/", {"from_id": 0})["read_id"] == 0


def test_deleted_messages_and_ones_own_are_not_unread(people: tuple[Caller, ...]) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    gone = ann.say(room, "gone")
    ann.say(room, "stays")
    ann.do("DELETE", f"{room}messages/{gone['id']}/", status=204)

    assert unread(bob) == [1]


def test_writing_marks_what_stands_before_as_read(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    services(team.app).read_marks.start()
    ann.say(room, "question")
    answer = bob.say(room, "answer")

    deadline = monotonic() + 10
    while bob.chat(room)["read_id"] < answer.id and monotonic() < deadline:
        threading.Event().wait(0.05)

    chat = bob.chat(room)
    assert (chat["read_id"], chat["unread"]) == (answer.id, 0)
    assert ann.chat(room)["unread"] == 1


def test_several_rooms_are_marked_at_once_or_none(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    rooms = [ann.room_with(bob), ann.group(bob)]
    foreign = ann.room_with(eve)
    names = {room: room.split("/")[2] for room in [*rooms, foreign]}
    sent = {names[room]: ann.say(room, "x")["id"] for room in names}

    mine = {name: sent[name] for name in (names[room] for room in rooms)}
    refused = bob.ask("POST", "/read/", mine | {names[foreign]: 5})
    assert (refused.status_code, refused.json["code"]) == (404, "room_not_found")
    assert unread(bob) == [1, 1]
    assert bob.do("POST", "/read/", mine) == {
        name: {"read_id": read_id, "unread": 0} for name, read_id in mine.items()
    }
    assert unread(bob) == [0, 0]
    assert bob.do("POST", "/read/", {}) == {}


@pytest.mark.parametrize("wrong", ["x", -1, None, True, [1], 1.5])
def test_what_is_no_id_is_refused(people: tuple[Caller, ...], wrong: object) -> None:
    ann, bob, _ = people
    room = ann.room_with(bob)
    name = room.split("/")[2]

    for path, field in ((f"{room}read/", "read_id"), (f"{room}unread/", "from_id")):
        answer = bob.ask("POST", path, {field: wrong})
        assert (answer.status_code, list(answer.json["errors"])) == (400, [field])
    answer = bob.ask("POST", "/read/", {name: wrong})
    assert (answer.status_code, list(answer.json["errors"])) == (400, [name])


def test_strangers_and_former_members_mark_nothing(people: tuple[Caller, ...]) -> None:
    ann, bob, eve = people
    room, group = ann.room_with(bob), ann.group(bob)
    bob.do("DELETE", f"{group}members/{bob.name}/", status=204)

    for caller, path in ((eve, room), (bob, group)):
        for action, field in (("read", "read_id"), ("unread", "from_id")):
            refused = caller.refused("POST", f"{path}{action}/", {field: 1})
            assert refused == (404, "room_not_found")


def test_two_devices_mark_at_once_and_the_greater_mark_stays(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    ids = [ann.say(room, str(number)).id for number in range(20)]
    place = (room.room_id, bob.id)
    workers = [ReadMarkWriter(team.engine, lambda _numbers: None) for _ in range(4)]

    marks = all_at_once(
        [
            partial(workers[number % 4].mark, {place: Move(read_id)})
            for number, read_id in enumerate(ids)
        ]
    )

    assert bob.chat(room)["read_id"] == ids[-1]
    assert all(mark[place].read_id >= read_id for mark, read_id in zip(marks, ids, strict=True))


def test_marks_of_a_moment_are_stored_together(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    ids = [ann.say(room, str(number)).id for number in range(12)]
    announced: list[range] = []
    writer = ReadMarkWriter(team.engine, announced.append)
    place = (room.room_id, bob.id)
    writer.mark({place: Move(ids[0])})

    began = monotonic()
    all_at_once([partial(writer.mark, {place: Move(read_id)}) for read_id in ids])

    assert monotonic() - began < 2
    assert [len(numbers) for numbers in announced if numbers] in ([1, 1], [1, 1, 1])


def test_merged_moves_do_what_they_do_one_after_another() -> None:
    def moved(read_id: int, newest_id: int, move: Move) -> int:
        return max(min(read_id, move.down_to), min(move.up_to, newest_id))

    some = Random(1)
    for _ in range(2_000):
        read_id, newest_id = some.randrange(10), some.randrange(10)
        moves = [
            some.choice([Move(some.randrange(12)), Move(down_to=some.randrange(12))])
            for _ in range(some.randrange(1, 6))
        ]
        expected = reduce(lambda at, move: moved(at, newest_id, move), moves, read_id)
        assert moved(read_id, newest_id, reduce(Move.then, moves)) == expected, moves


def test_nothing_is_marked_for_an_account_that_is_erased_meanwhile(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    sent = ann.say(room, "x")
    writer = ReadMarkWriter(team.engine, lambda _numbers: None)
    of_bob = User.id == bob.id

    with writing(team.engine) as connection:  # in the order of an erasure
        connection.execute(select(User.id).where(of_bob).with_for_update())
        thread = threading.Thread(
            target=writer.mark, args=({(room.room_id, bob.id): Move(sent.id)},)
        )
        thread.start()
        threading.Event().wait(0.3)
        connection.execute(update(User).where(of_bob).values(deleted_at=NOW))
        erase_marks(connection, bob.id)
    thread.join()

    with reading(team.engine) as connection:
        place = (RoomMember.room_id == room.room_id) & (RoomMember.user_id == bob.id)
        assert connection.scalar(select(RoomMember.read_id).where(place)) == 0


def test_who_left_meanwhile_is_told_so(team: Team) -> None:
    ann, bob, eve = team.people(3)
    room = ann.room_with(bob)
    sent = ann.say(room, "x")
    writer = ReadMarkWriter(team.engine, lambda _numbers: None)

    with pytest.raises(RoomNotFound):
        writer.mark({(room.room_id, eve.id): Move(sent.id)})
    assert writer.mark({(room.room_id, bob.id): Move(sent.id)}) == {
        (room.room_id, bob.id): ReadMark(sent.id, 0)
    }


def test_streams_of_both_are_told_how_far_one_has_read(team: Team) -> None:
    ann, bob, eve = team.people(3)
    room = ann.room_with(bob)
    first, second = ann.say(room, "1"), ann.say(room, "2")
    numbers: list[range] = []
    ReadMarkWriter(team.engine, numbers.append).mark({(room.room_id, bob.id): Move(first.id)})
    ((number,),) = numbers

    def marks(of: object) -> list[dict[str, object]]:
        return [f for f in of.frames() if f["type"] == "read" and f["id"] == number]  # type: ignore[attr-defined]

    frame = {"type": "read", "id": number, "room": room.room_name, "user": bob.name}
    assert marks(bob) == [frame | {"read_id": first.id, "unread": 1}]
    assert marks(ann) == [frame | {"read_id": first.id}]
    assert marks(eve) == []
    assert first.id < second.id < number


def test_who_hides_marks_shows_none_and_sees_none(team: Team) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    sent = ann.say(room, "x")
    numbers: list[range] = []
    writer = ReadMarkWriter(team.engine, numbers.append)
    writer.mark({(room.room_id, bob.id): Move(sent.id)})
    ((number,),) = [each for each in numbers if each]
    assert ann.chat(room)["peer_read_id"] == sent.id

    for hiding in (ann, bob):
        with writing(team.engine) as connection:
            connection.execute(update(User).values(show_read=True))
            connection.execute(update(User).where(User.id == hiding.id).values(show_read=False))
        assert "peer_read_id" not in ann.chat(room)
        assert [
            f["id"] for f in ann.frames() if f["type"] == "read" and f["user"] == bob.name
        ] == []
        assert number in [f["id"] for f in bob.frames() if f["type"] == "read"]
        page = team.events.events_between(number - 1, 1, [ann.id, bob.id])
        (event,) = page.events
        assert event.frames is not None
        assert not event.frames.get(ann.id) if event.room_id else event.frame is None
        assert b'"unread":0' in event.frames[bob.id]
