"""Statements that go to the driver by themselves: what comes back, and what goes wrong."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, bindparam, create_engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.accounts.models import User
from app.database.engine import engine_options, prepare
from app.database.prepared import Prepared
from app.database.transactions import insert_once, reading, writing
from app.services import services
from tests.conftest import sqlite_url

NAME = bindparam("name")
USERS = Prepared(select(User.id, User.username, User.is_admin, User.created_at).order_by(User.id))
NAMED = Prepared(select(User.username).where(User.username == NAME).limit(1))
ADD = Prepared(
    insert(User).values(
        {
            column: bindparam(column)
            for column in ("username", "username_key", "email", "email_key", "created_at")
        }
        | {"password_hash": "x", "is_admin": True}
    )
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def engine(app: Flask) -> Engine:
    return services(app).engine


def person(name: str, created_at: datetime = NOON) -> dict[str, Any]:
    return {
        "username": name,
        "username_key": name,
        "email": name,
        "email_key": name,
        "created_at": created_at,
    }


def test_rows_have_the_names_and_the_types_of_their_columns(engine: Engine) -> None:
    moscow = NOON.astimezone(timezone(timedelta(hours=3)))
    with writing(engine) as connection:
        ADD.many(connection, [person("ann"), person("bob", moscow)])

    with reading(engine) as connection:
        ann, bob = USERS.all(connection, {})

    assert (ann.username, bob.username) == ("ann", "bob")
    assert ann.is_admin is True
    assert ann.created_at == bob.created_at == NOON
    assert ann.created_at.tzinfo is not None
    assert ann._asdict().keys() == {"id", "username", "is_admin", "created_at"}


def test_first_row_or_none(engine: Engine) -> None:
    with writing(engine) as connection:
        ADD.many(connection, [person("ann")])

    with reading(engine) as connection:
        assert NAMED.first(connection, {"name": "ann"}) == ("ann",)
        assert NAMED.first(connection, {"name": "' OR 1=1 --"}) is None


def test_rows_up_to_one_that_is_enough(engine: Engine) -> None:
    seen = []
    with writing(engine) as connection:
        ADD.many(connection, [person(name) for name in ("ann", "bob", "cat")])

        rows = USERS.until(connection, {}, lambda row: seen.append(row) or row.username == "bob")

        assert [row.username for row in rows][:2] == ["ann", "bob"]
        if connection.dialect.name == "sqlite":
            assert rows == seen == USERS.all(connection, {})[:2]
        # Nothing of it is left open, and the next statement comes.
        ADD.many(connection, [person("dan")])
        assert len(USERS.until(connection, {}, lambda _row: False)) == 4


def test_refusal_is_the_error_that_sqlalchemy_raises_and_nothing_is_kept(engine: Engine) -> None:
    with pytest.raises(IntegrityError), writing(engine) as connection:
        ADD.many(connection, [person("ann"), person("bob"), person("ann")])

    with reading(engine) as connection:
        assert USERS.all(connection, {}) == []


def test_error_names_no_parameter(engine: Engine) -> None:
    with writing(engine) as connection:
        ADD.many(connection, [person("ann")])

    with pytest.raises(IntegrityError) as caught, writing(engine) as connection:
        ADD.many(connection, [person("ann") | {"username": "a secret", "email": "another"}])

    assert "secret" not in str(caught.value).partition("DETAIL")[0]


def test_dead_connection_is_reported_and_not_lent_again(postgresql_app: Flask) -> None:
    engine = services(postgresql_app).engine
    own = select(func.pg_backend_pid().label("pid"))
    with reading(engine) as connection:
        pid = connection.scalar(own)
        with reading(engine) as other:
            other.execute(select(func.pg_terminate_backend(pid, 5000)))
        with pytest.raises(DBAPIError) as caught:
            Prepared(own).all(connection, {})
    assert caught.value.connection_invalidated

    with reading(engine) as connection:
        (answer,) = Prepared(own).all(connection, {})
    assert answer.pid != pid


def test_columns_with_a_default_get_it(engine: Engine) -> None:
    values = {key: value for key, value in person("ann").items() if key != "created_at"}
    with writing(engine) as connection:
        user_id = insert_once(connection, User, **values, password_hash="x")
        again = insert_once(connection, User, **values, password_hash="x")
        rows = USERS.all(connection, {})

    assert [row.id for row in rows] == [user_id]
    assert again is None
    assert rows[0].created_at.tzinfo is not None


def test_failure_while_rows_are_fetched_is_sqlalchemys_error_too(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    engine = create_engine(url, **engine_options(url, 1))
    prepare(engine)
    # The first row is good; the second one SQLite cannot make when it is asked for it.
    rows = Prepared(text("SELECT 1 UNION ALL SELECT abs(-9223372036854775807 - 1)"))

    with reading(engine) as connection, pytest.raises(DBAPIError):
        rows.all(connection, {})
    engine.dispose()


def test_statement_whose_columns_have_changed_meanwhile_is_prepared_anew(
    postgresql_app: Flask,
) -> None:
    engine = services(postgresql_app).engine
    things = Prepared(text("SELECT id FROM things ORDER BY id"))
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE things AS SELECT 1::integer AS id"))
    try:
        with reading(engine) as connection:
            assert things.all(connection, {}) == [(1,)]
            with reading(engine) as other:  # a migration, say
                other.execute(text("ALTER TABLE things ALTER id TYPE text"))
            assert things.all(connection, {}) == [("1",)]
            connection.execute(text("DISCARD ALL"))  # as a proxy does that shares connections
            assert things.all(connection, {}) == [("1",)]
    finally:
        with writing(engine) as connection:
            connection.execute(text("DROP TABLE things"))


def test_values_are_what_they_were_given_as(postgresql_app: Flask) -> None:
    values = Prepared(
        text(
            "SELECT CAST(:number AS bigint), CAST(:nothing AS text), CAST(:text AS text),"
            " CAST(:texts AS text[]), CAST(:numbers AS bigint[]), CAST(:flag AS boolean),"
            " CAST(:at AS timestamptz)"
        )
    )
    given = {
        "number": -(2**63),
        "nothing": None,
        "text": "'\"\\%s $1 \u042f\U0001f600\n",
        "texts": ["", "NULL", "{},\"\\' ", None, "\u042f"],
        "numbers": [2**63 - 1, None, -1],
        "flag": True,
        "at": NOON.astimezone(timezone(timedelta(hours=3))),
    }
    with reading(services(postgresql_app).engine) as connection:
        assert values.first(connection, given) == tuple(given.values())
        with pytest.raises(DBAPIError):
            values.first(connection, given | {"text": "a\0b"})
        with pytest.raises(DBAPIError):
            values.first(connection, given | {"number": 2**63})
        assert values.first(connection, given) == tuple(given.values())
