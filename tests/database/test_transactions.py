"""Connections are lent to those who wait in the order in which they came, and are kept."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from app.database.engine import engine_options, prepare
from app.database.errors import DatabaseUnavailable
from app.database.pool import pool_of
from app.database.transactions import reading, writing
from config import database_url
from tests.conftest import sqlite_url
from tests.crowds import all_at_once

PATIENCE_SECONDS = 10


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that lends one connection at a time."""
    url = sqlite_url(tmp_path)
    engine = create_engine(url, **engine_options(url, pool_size=1))
    prepare(engine)
    yield engine
    engine.dispose()


def wait_in_line(engine: Engine, number: int) -> None:
    """Wait until so many wait."""
    pool = pool_of(engine)
    for _ in range(PATIENCE_SECONDS * 100):
        if len(pool._queue) == number:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{len(pool._queue)} are waiting, not {number}")


def test_who_comes_first_is_served_first(engine: Engine) -> None:
    served: list[int] = []

    def ask(number: int) -> None:
        with reading(engine):
            served.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    with reading(engine):
        for number, thread in enumerate(threads, start=1):
            thread.start()
            wait_in_line(engine, number)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert served == [0, 1, 2, 3, 4]


def test_who_gives_back_does_not_overtake_those_who_wait(engine: Engine) -> None:
    served: list[str] = []

    def ask() -> None:
        with reading(engine):
            served.append("who waited")

    with reading(engine):
        thread = threading.Thread(target=ask)
        thread.start()
        wait_in_line(engine, 1)
    with reading(engine):
        served.append("who gave back")
    thread.join(PATIENCE_SECONDS)

    assert served == ["who waited", "who gave back"]


def test_who_waits_in_vain_is_told_and_forgotten(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_of(engine), "_timeout", 0.05)

    with reading(engine), pytest.raises(DatabaseUnavailable), reading(engine):
        pass

    with reading(engine):  # the place is there again
        pass


def test_place_of_a_connection_that_cannot_be_made_is_free_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'no folder' / 'beseda.db'}"
    engine = create_engine(url, **engine_options(url, pool_size=1))

    for _ in range(5):
        with pytest.raises(Exception, match="unable to open"), reading(engine):
            pass

    assert pool_of(engine).lent == 0


def test_crowd_opens_no_more_connections_than_are_kept(postgresql_url: str) -> None:
    url = database_url(postgresql_url)
    engine = create_engine(url, **engine_options(url, pool_size=3))
    prepare(engine)
    opened = []
    event.listen(engine, "connect", lambda *_: opened.append(1))

    def ask() -> None:
        for _ in range(20):
            with reading(engine) as connection:
                connection.execute(text("SELECT pg_sleep(0.001)"))

    all_at_once([ask] * 12)
    engine.dispose()

    assert len(opened) == 3


def test_nothing_is_left_of_what_one_borrower_did_for_the_next(app: Flask) -> None:
    engine = app.extensions["engine"]
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (id integer)"))
    try:
        with reading(engine) as first:
            first.exec_driver_sql("BEGIN")
            first.execute(text("INSERT INTO things VALUES (1)"))
        with suppress(DBAPIError), writing(engine) as second:
            second.execute(text("INSERT INTO things VALUES (2)"))
            second.execute(text("nonsense"))
        with reading(engine) as third:
            found = third.execute(text("SELECT id FROM things")).all()
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE things"))

    assert first is second is third
    assert found == []


def test_transactions_of_the_engine_itself_are_transactions(app: Flask) -> None:
    engine = app.extensions["engine"]
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE things (id integer)"))
        connection.rollback()

    with reading(engine) as connection:
        assert not inspect(connection).has_table("things")


def test_when_one_connection_dies_the_idle_ones_are_not_trusted_either(
    postgresql_app: Flask,
) -> None:
    engine = postgresql_app.extensions["engine"]
    with reading(engine), reading(engine), reading(engine):
        pass
    assert pool_of(engine).idle >= 3

    with reading(engine) as connection, pytest.raises(DBAPIError):
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert pool_of(engine).idle == 0
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT 1")) == 1
