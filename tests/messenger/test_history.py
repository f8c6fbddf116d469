"""What realtime asks of the database."""

import time
from contextlib import ExitStack
from threading import Thread

import pytest

from app.clock import utcnow
from app.database.pool import pool_of
from app.database.transactions import reading
from app.messenger.history import READS_MAX, MessageHistory
from app.messenger.store import store
from app.services import services
from tests.messenger.rows import make_room


@pytest.fixture
def engine(app):
    return services(app).engine


@pytest.fixture
def history(engine):
    return MessageHistory(engine)


def send_text(engine, room, *contents):
    """Store messages; return their ids and payloads."""
    stored = store(
        engine, [room.draft(content, of=i % 2) for i, content in enumerate(contents)], utcnow()
    )
    return [(each.id, each.payload) for each in stored]


def test_newest_ids_of_rooms(engine, history):
    silent, one, two = (make_room(engine) for _ in range(3))
    send_text(engine, one, "a", "b")
    said = send_text(engine, two, "c")
    newest = send_text(engine, one, "d")

    last_ids = history.last_ids({silent.id, one.id, two.id, 10**9})

    assert last_ids == {silent.id: 0, one.id: newest[-1][0], two.id: said[-1][0]}


def test_newest_ids_of_no_rooms(history):
    assert history.last_ids([]) == {}


def test_newest_ids_of_very_many_rooms(engine, history):
    room = make_room(engine)

    assert history.last_ids(range(1, 20_001)).keys() == {room.id}


def test_request_waits_for_few_of_those_who_fill_gaps(engine, history):
    room = make_room(engine)
    pool = pool_of(engine)

    with ExitStack() as held:
        for _ in range(pool.size):
            held.enter_context(reading(engine))
        fills = [Thread(target=history.after, args=(room.id, 0, 100)) for _ in range(30)]
        for fill in fills:
            fill.start()
        deadline = time.monotonic() + 10
        while len(pool._queue) < READS_MAX and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        waiting = len(pool._queue)
    for fill in fills:
        fill.join()

    assert waiting == READS_MAX


def test_messages_after_an_id_ascend_and_are_what_was_delivered(engine, history):
    room, other = make_room(engine), make_room(engine)
    first = send_text(engine, room, "1", "2")
    send_text(engine, other, "elsewhere")
    second = send_text(engine, room, "3", "4")
    said = first + second

    for cursor, expected in [(0, said), (said[0][0], said[1:]), (said[1][0], said[2:])]:
        assert history.after(room.id, cursor, 100) == expected


def test_messages_after_the_newest_are_none(engine, history):
    room = make_room(engine)
    ((last, _),) = send_text(engine, room, "x")

    assert history.after(room.id, last, 100) == []
    assert history.after(room.id, 2**62, 100) == []
    assert history.after(10**9, 0, 100) == []


def test_the_oldest_come_first_where_not_all_fit(engine, history):
    room = make_room(engine)
    said = send_text(engine, room, *"abcde")

    assert history.after(room.id, 0, 2) == said[:2]
    assert history.after(room.id, said[1][0], 2) == said[2:4]
    assert history.after(room.id, said[3][0], 2) == said[4:]
