"""The sequence of event ids: ascending, and visible in that order, whoever draws."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import Connection, Engine, func, insert, select

from app.accounts.models import User
from app.database.sequence import draw, waits
from app.database.transactions import reading, writing
from app.messenger.models import Message, Room
from app.messenger.store import store
from app.profiles.models import Post
from app.services import services
from tests.crowds import all_at_once
from tests.messenger.rows import NOW, RoomRow, count_messages, make_room

SECONDS = 20
ON_POSTGRESQL = pytest.mark.parametrize("app", ["postgresql"], indirect=True)


@pytest.fixture
def engine(app: Flask) -> Engine:
    """The application's own engine."""
    return services(app).engine


def insert_message(connection: object, room: RoomRow) -> int:
    """Insert a message past the writer, as anybody might, and return its id."""
    query = insert(Message).returning(Message.id)
    values = {"room_id": room.id, "user_id": room.user_ids[0], "content": "x"}
    return int(connection.execute(query, values).scalar_one())  # type: ignore[attr-defined]


def test_numbers_are_consecutive_and_shared_with_messages(engine: Engine) -> None:
    room = make_room(engine)

    with writing(engine) as connection:
        first = draw(connection, 3)
        message_id = insert_message(connection, room)
        last = draw(connection)
        none = draw(connection, 0)

    assert list(first) == [first[0], first[0] + 1, first[0] + 2]
    assert message_id == first[-1] + 1
    assert list(last) == [message_id + 1]
    assert list(none) == []


def test_next_id_is_drawn_after_the_commit_of_the_one_before(engine: Engine) -> None:
    room = make_room(engine)
    drawn: list[int] = []

    def draw_too() -> None:
        with writing(engine) as connection:
            drawn.extend(draw(connection))

    with writing(engine) as connection:
        insert_message(connection, room)
        other = threading.Thread(target=draw_too)
        other.start()
        other.join(0.2)
        assert drawn == []
    other.join(SECONDS)

    assert len(drawn) == 1


@pytest.mark.parametrize("how", ["message", "change"])
def test_the_wait_for_the_lock_is_measured(engine: Engine, how: str) -> None:
    room = make_room(engine)

    def write() -> None:
        if how == "message":
            store(engine, [room.draft("x")], NOW)
        else:
            with writing(engine) as connection:
                draw(connection)

    write()
    before = replace(waits)
    with writing(engine) as connection:
        draw(connection)
        other = threading.Thread(target=write)
        other.start()
        other.join(0.3)
        assert other.is_alive()
    other.join(SECONDS)

    assert waits.times - before.times == 2
    # Less by what the thread took to start.
    assert waits.seconds - before.seconds > 0.2


@ON_POSTGRESQL
def test_a_reader_who_asks_for_what_is_newer_misses_nothing(engine: Engine) -> None:
    # Three writers to rooms of their own: without a lock some rows are committed after greater ones.
    rooms = [make_room(engine) for _ in range(3)]
    batches, batch = 40, 20
    wanted = len(rooms) * batches * batch
    seen: list[int] = []
    is_done = threading.Event()

    def read() -> None:
        newer = select(Message.id).order_by(Message.id)
        while True:
            was_done = is_done.is_set()
            with reading(engine) as connection:
                last = seen[-1] if seen else 0
                seen.extend(connection.scalars(newer.where(Message.id > last)))
            if was_done:
                return

    def write(room: RoomRow) -> None:
        for _ in range(batches):
            store(engine, [room.draft("x")] * batch, NOW)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        all_at_once([partial(write, room) for room in rooms])
    finally:
        is_done.set()
        reader.join(SECONDS)

    assert count_messages(engine) == wanted
    assert len(seen) == wanted


def new_user(connection: Connection, name: str) -> int:
    keys = dict.fromkeys(("username", "username_key", "email", "email_key"), name)
    values = {**keys, "password_hash": "none", "created_at": NOW}
    return int(connection.execute(insert(User).values(values).returning(User.id)).scalar_one())


def new_room(connection: Connection, name: str) -> int:
    values = {"name": name, "created_at": NOW, "title": name, "kind": "group", "changed_id": 0}
    return int(connection.execute(insert(Room).values(values).returning(Room.id)).scalar_one())


def new_post(connection: Connection, name: str) -> int:
    author_id = connection.scalar(select(func.min(User.id)))
    values = {"author_id": author_id, "title": name, "content": name, "created_at": NOW}
    return int(connection.execute(insert(Post).values(values).returning(Post.id)).scalar_one())


@ON_POSTGRESQL
@pytest.mark.parametrize("new", [new_user, new_room, new_post])
def test_no_list_shows_an_id_before_all_smaller_ones(
    engine: Engine, new: Callable[[Connection, str], int]
) -> None:
    # Otherwise somebody who asks for what comes after the greater one never sees the smaller one.
    make_room(engine)  # of people who can write posts
    ids: list[int] = []

    def write_later() -> None:
        with writing(engine) as connection:
            later = new(connection, "later")
        ids.append(later)

    with writing(engine) as connection:
        first = new(connection, "first")
        other = threading.Thread(target=write_later)
        other.start()
        other.join(0.3)
        assert ids == []
    other.join(SECONDS)

    assert ids
    assert ids[0] > first


@ON_POSTGRESQL
def test_a_worker_that_is_frozen_with_the_lock_loses_it(engine: Engine) -> None:
    with writing(engine) as connection:
        draw(connection)
        with writing(engine) as other:
            query = (
                "SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
            )
            assert connection.exec_driver_sql(query).scalar() == "3000"
            assert other.exec_driver_sql(query).scalar() == "5000"  # as every transaction
