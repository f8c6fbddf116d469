"""Messages into the tables: order, chains, repeats, and what many writers do to each other."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import DBAPIError

from app.messenger.history import MessageHistory
from app.messenger.store import store
from app.services import services
from tests.factories import PASSWORD
from tests.messenger.rows import contents_of, count_messages, last_id_of, make_room, messages_of

NOW = datetime(2024, 12, 12, 10, 0, 0, tzinfo=UTC)
LATER = datetime(2024, 12, 12, 10, 0, 1, tzinfo=UTC)

ODD = {
    "quotes": """ 'single' "double" `back` '' "" """,
    "backslashes": "\\ \\\\ \\n \\' \\\" C:\\new",
    "braces": "{} {1,2} {NULL} {{x}} {\"a\": 'b'}",
    "null": "NULL",
    "commas": "a,b,,c",
    "brackets": "[0:1]={x} (1,2) [] ()",
    "binds": ":rooms %s %(now)s $1 ? ?1",
    "dollars": "$$ $tag$ -- /* */ ;DROP TABLE messages;",
    "html": "<script>alert('&amp;')</script>",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 😀",
    "astral": "\U0001f600\U0010ffff",
    "separators": "a\u2028b\u2029c\u0085d",
    "controls": "\x01\x02\t\n\r\x0b\x0c\x1b\x7f",
    "marks": "e\u0301 \u202e right to left \ufeff \u200b",
    "noncharacters": "\ufffe\uffff\ufdd0",
    "spaces": "   in front and behind \u00a0 ",
    "cyrillic": "Привет! Ёжик — «ёлки»…",
    "long": "😀" * 10_000,
    "long and escaped": "\x01" * 10_000,
}


@pytest.fixture
def engine(app):
    return services(app).engine


def payload_of(stored):
    return json.loads(stored.payload)


def test_messages_are_stored_in_the_order_given(engine):
    room = make_room(engine)

    stored = store(engine, [room.draft(str(number), of=number % 2) for number in range(50)], NOW)

    ids = [each.id for each in stored]
    assert ids == sorted(set(ids))
    assert messages_of(engine, room) == [(id_, str(number)) for number, id_ in enumerate(ids)]
    assert last_id_of(engine, room) == ids[-1]


def test_stored_message_is_what_readers_get(engine):
    room = make_room(engine)

    first, second = store(engine, [room.draft("one"), room.draft("two", "c1", of=1)], NOW)

    ann, bob = room.usernames
    assert payload_of(first) == {
        "id": first.id,
        "user": ann,
        "content": "one",
        "timestamp": "2024-12-12T10:00:00Z",
    }
    assert payload_of(second) == {
        "id": second.id,
        "user": bob,
        "content": "two",
        "timestamp": "2024-12-12T10:00:00Z",
        "client_id": "c1",
    }
    assert not first.is_repeat


def test_each_message_names_the_one_before_it(engine):
    room, other = make_room(engine), make_room(engine)

    stored = [
        *store(engine, [room.draft("1"), other.draft("2"), room.draft("3")], NOW),
        *store(engine, [other.draft("4")], NOW),
        *store(engine, [other.draft("5"), room.draft("6"), room.draft("7"), other.draft("8")], NOW),
    ]

    for each in (room, other):
        of_room = [message for message in stored if message.room_id == each.id]
        assert [message.prev_id for message in of_room] == [
            0,
            *(message.id for message in of_room[:-1]),
        ]
        assert last_id_of(engine, each) == of_room[-1].id


def test_room_that_nobody_spoke_in_stays_as_it_was(engine):
    room, other = make_room(engine), make_room(engine)
    (before,) = store(engine, [other.draft("x")], NOW)

    store(engine, [room.draft("y")], NOW)

    assert last_id_of(engine, other) == before.id


# Repeats


def test_repeat_inserts_nothing_and_answers_what_is_stored(engine):
    room = make_room(engine)
    (first,) = store(engine, [room.draft("first", "c1")], NOW)

    (again,) = store(engine, [room.draft("something else", "c1")], LATER)

    assert again.is_repeat
    assert again.id == first.id
    assert again.payload == first.payload
    assert contents_of(engine, room) == ["first"]
    assert last_id_of(engine, room) == first.id


def test_repeat_within_one_transaction(engine):
    room = make_room(engine)

    stored = store(
        engine,
        [
            room.draft("before"),
            room.draft("first", "c1"),
            room.draft("second", "c1"),
            room.draft("after"),
            room.draft("third", "c1"),
        ],
        NOW,
    )

    before, first, second, after, third = stored
    assert [each.is_repeat for each in stored] == [False, False, True, False, True]
    assert second.payload == third.payload == first.payload
    assert [first.prev_id, after.prev_id] == [before.id, first.id]
    assert contents_of(engine, room) == ["before", "first", "after"]


def test_repeats_and_news_mix_in_one_transaction(engine):
    room, other = make_room(engine), make_room(engine)
    old, _ = store(engine, [room.draft("old", "c1"), other.draft("elsewhere", "c1")], NOW)

    stored = store(
        engine,
        [
            room.draft("new"),
            room.draft("repeat", "c1"),
            other.draft("new there", "c2"),
            room.draft("newer", "c2"),
            room.draft("repeat of the new one", "c2"),
        ],
        LATER,
    )

    assert [each.is_repeat for each in stored] == [False, True, False, False, True]
    assert stored[1].payload == old.payload
    assert stored[3].prev_id == stored[0].id
    assert stored[0].prev_id == old.id
    assert contents_of(engine, room) == ["old", "new", "newer"]


def test_client_id_is_known_per_user_and_room(engine):
    room, other = make_room(engine), make_room(engine)

    stored = store(
        engine,
        [
            room.draft("1", "c"),
            room.draft("2", "c", of=1),
            other.draft("3", "c"),
            room.draft("4", "C"),
        ],
        NOW,
    )

    assert [each.is_repeat for each in stored] == [False] * 4


@pytest.mark.parametrize("client_id", ["NULL", "{}", "'", "\\", "😀" * 64, " c ", "\u2028"])
def test_client_id_may_be_any_text(engine, client_id):
    room = make_room(engine)

    first, again = store(engine, [room.draft("x", client_id)] * 2, NOW)
    (later,) = store(engine, [room.draft("y", client_id)], NOW)

    assert payload_of(first)["client_id"] == client_id
    assert again.is_repeat
    assert later.payload == first.payload


def test_transaction_of_nothing_but_repeats(engine):
    room = make_room(engine)
    drafts = [room.draft(str(number), f"c{number}") for number in range(300)]
    stored = store(engine, drafts, NOW)

    again = store(engine, drafts[::-1], LATER)

    assert all(each.is_repeat for each in again)
    assert [each.payload for each in again[::-1]] == [each.payload for each in stored]


# Failures


def test_transaction_with_a_stranger_stores_nothing(engine):
    room = make_room(engine)
    stranger = replace(room.draft("x"), user_id=10**9)

    with pytest.raises(DBAPIError):
        store(engine, [room.draft("good"), stranger], NOW)

    assert contents_of(engine, room) == []
    assert last_id_of(engine, room) == 0


def test_transaction_with_an_unknown_room_stores_nothing(engine):
    room = make_room(engine)
    nowhere = replace(room.draft("x"), room_id=10**9)

    with pytest.raises(Exception):  # noqa: B017, PT011 - which one is not said
        store(engine, [room.draft("good"), nowhere], NOW)

    assert contents_of(engine, room) == []
    assert last_id_of(engine, room) == 0


# Odd texts


@pytest.mark.parametrize("content", ODD.values(), ids=ODD.keys())
def test_content_comes_back_unchanged(engine, content):
    room = make_room(engine)

    first, second = store(engine, [room.draft(content, "c"), room.draft(content)], NOW)
    (again,) = store(engine, [room.draft("other", "c")], NOW)
    read = MessageHistory(engine).after(room.id, 0, 10)

    assert payload_of(first)["content"] == content
    assert contents_of(engine, room) == [content, content]
    assert again.payload == first.payload
    assert read == [(first.id, first.payload), (second.id, second.payload)]


def test_content_comes_back_unchanged_by_rest(client):
    def post(path, body, **headers):
        return client.post(path, json=body, headers=headers)

    for name in ("ann", "bob"):
        post(
            "/accounts/api/users/",
            {"username": name, "email": f"{name}@example.com", "password": PASSWORD},
        )
    tokens = post("/accounts/api/token/", {"username": "ann", "password": PASSWORD}).json
    bearer = {"Authorization": f"Bearer {tokens['access']}"}
    room = post("/messenger/api/chatrooms/", {"recipient": "bob"}, **bearer).json
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"

    posted = [post(path, {"content": content}, **bearer) for content in ODD.values()]
    listed = client.get(path, headers=bearer)

    assert [answer.status_code for answer in posted] == [201] * len(ODD)
    assert [answer.json["content"] for answer in posted] == list(ODD.values())
    assert listed.json == [answer.json for answer in posted]


# Many at a time


def test_writers_of_the_same_rooms_neither_lock_nor_tear_each_other(engine):
    rooms = [make_room(engine) for _ in range(3)]
    ready = threading.Barrier(4)
    stored = []
    failures = []

    def write(writer):
        ready.wait()
        try:
            for turn in range(25):
                first = (writer + turn) % 3
                order = [rooms[first], rooms[first - 1], rooms[first - 2]]
                order = order[::-1] if writer % 2 else order
                drafts = [
                    room.draft(f"{writer}.{turn}.{position}", f"{turn}" if writer < 2 else None)
                    for position, room in enumerate(order * 2)
                ]
                stored.extend(store(engine, drafts, NOW))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    new = [each for each in stored if not each.is_repeat]
    assert len(new) == count_messages(engine)
    for room in rooms:
        chain = sorted((each.id, each.prev_id) for each in new if each.room_id == room.id)
        ids = [id_ for id_, _ in chain]
        assert [prev_id for _, prev_id in chain] == [0, *ids[:-1]]
        assert [id_ for id_, _ in messages_of(engine, room)] == ids
        assert last_id_of(engine, room) == ids[-1]


def test_reader_of_a_busy_room_never_sees_an_id_before_an_older_one(engine):
    room = make_room(engine)
    history = MessageHistory(engine)
    is_done = threading.Event()
    seen = [0]

    def read():
        while True:
            last_turn = is_done.is_set()
            seen.extend(id_ for id_, _ in history.after(room.id, seen[-1], 1000))
            if last_turn:
                return

    def write(writer):
        for turn in range(40):
            store(engine, [room.draft(f"{writer}.{turn}")], NOW)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    is_done.set()
    reader.join(60)

    assert seen[1:] == [id_ for id_, _ in messages_of(engine, room)]
    assert len(seen) == 1 + 3 * 40
