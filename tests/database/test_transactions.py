"""Loans of connections, transactions, and a database that cannot serve now."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import psycopg
import pytest
from flask import Flask
from psycopg.sql import SQL, Identifier
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from app.database import engine as engine_module
from app.database.engine import engine_options, prepare
from app.database.errors import DatabaseUnavailable, is_unavailable
from app.database.pool import pool_of
from app.database.transactions import reading, writing
from app.services import services
from config_urls import database_url
from tests.apps import make_app, sqlite_url
from tests.crowds import all_at_once
from tests.factories import PASSWORD
from tests.servers import Server
from tests.services import Databases

PATIENCE_SECONDS = 10
PERSON = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}


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


def test_locks_of_a_worker_that_vanished_are_released(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "IDLE_SECONDS", 1)
    url = database_url(postgresql_url)
    engine = create_engine(url, **engine_options(url, pool_size=2))
    prepare(engine)
    lock = text("SELECT pg_advisory_xact_lock(1)")

    is_released = False

    with suppress(DBAPIError), writing(engine, patient=True) as vanished:
        vanished.execute(lock)
        with writing(engine, patient=True) as another:
            another.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
            another.execute(lock)
            is_released = True

    assert is_released
    with engine.connect() as command:  # which may think for as long as it likes
        asked = text("SHOW idle_in_transaction_session_timeout")
        assert command.execute(asked).scalar() == "0"
    engine.dispose()


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
    engine = services(app).engine
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
    engine = services(app).engine
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE things (id integer)"))
        connection.rollback()

    with reading(engine) as connection:
        assert not inspect(connection).has_table("things")


def test_when_one_connection_dies_the_idle_ones_are_not_trusted_either(
    postgresql_app: Flask,
) -> None:
    engine = services(postgresql_app).engine
    with reading(engine), reading(engine), reading(engine):
        pass
    assert pool_of(engine).idle >= 3

    with reading(engine) as connection, pytest.raises(DBAPIError):
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert pool_of(engine).idle == 0
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


# A database that cannot serve now


@pytest.mark.parametrize(
    ("setting", "statement"),
    [
        ("statement_timeout = 50", "SELECT pg_sleep(5)"),
        ("lock_timeout = 50", "LOCK TABLE users"),
        ("default_transaction_read_only = on", "CREATE TABLE things (id integer)"),
    ],
)
def test_refusal_of_postgresql_that_may_pass_is_no_defect(
    postgresql_app: Flask, setting: str, statement: str
) -> None:
    engine = services(postgresql_app).engine
    with engine.connect() as one, engine.connect() as other:
        other.exec_driver_sql("LOCK TABLE users")
        one.exec_driver_sql(f"SET {setting}")
        one.commit()
        with pytest.raises(DBAPIError) as caught:
            one.exec_driver_sql(statement)

    assert is_unavailable(caught.value)


def test_table_that_is_locked_for_too_long_is_no_defect(
    databases: Databases, tmp_path: Path
) -> None:
    url = databases.create()
    with psycopg.connect(url, autocommit=True) as administrator:
        administrator.execute(
            SQL("ALTER DATABASE {} SET statement_timeout = '300ms'").format(
                Identifier(administrator.info.dbname)
            )
        )
    app = make_app(tmp_path, url)
    with psycopg.connect(url) as locker:
        locker.execute("LOCK TABLE users")
        answer = app.test_client().post("/accounts/api/users/", json=PERSON)
        assert answer.json["code"] == "database_unavailable"
        locker.rollback()
        again = app.test_client().post("/accounts/api/users/", json=PERSON)
    services(app).engine.dispose()
    databases.drop(url)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert again.status_code == 201


@pytest.mark.alone
@pytest.mark.server
def test_process_that_keeps_the_file_of_sqlite_holds_up_no_reader(tmp_path: Path) -> None:
    with (
        Server(tmp_path) as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
        closing(sqlite3.connect(tmp_path / "beseda.db", isolation_level=None)) as other,
    ):
        http.post("/accounts/api/users/", json=PERSON).raise_for_status()
        access = http.post("/accounts/api/token/", json=PERSON).json()["access"]
        bearer = {"Authorization": f"Bearer {access}"}
        post = {"title": "a", "content": "b"}
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor() as pool:

            def write() -> tuple[int, float]:
                answer = http.post("/profiles/api/posts/", json=post, headers=bearer)
                return answer.status_code, answer.elapsed.total_seconds()

            writers = [pool.submit(write) for _ in range(12)]
            reads = []
            while not all(each.done() for each in writers):
                reads.append(http.get("/healthz"))
                reads.append(http.get("/profiles/api/posts/", headers=bearer))
        other.execute("ROLLBACK")
        after = http.post("/profiles/api/posts/", json=post, headers=bearer)

    answers = [each.result() for each in writers]
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 5
    assert {each.status_code for each in reads} == {200}
    assert max(each.elapsed.total_seconds() for each in reads) < 1
    assert after.status_code == 201


def test_transaction_begins_as_soon_as_another_process_lets_it(
    engine: Engine, tmp_path: Path
) -> None:
    with closing(
        sqlite3.connect(tmp_path / "beseda.db", isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, other.execute, ["COMMIT"]).start()

        with writing(engine) as connection:
            connection.execute(text("CREATE TABLE things (id integer)"))


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_commit_of_sqlite_waits_for_the_disk_on_macos_too(app: Flask) -> None:
    # `fsync` alone leaves data in the cache of the disk there (https://www.sqlite.org/pragma.html).
    with reading(services(app).engine) as connection:
        found = [connection.scalar(text(f"PRAGMA {name}")) for name in ("synchronous", "fullfsync")]

    assert found == [2, 1]  # FULL, ON
