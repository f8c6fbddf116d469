"""`copy-database`: every row of every table, or nothing; on both kinds, in both directions."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import Boolean, Connection, Engine, Table, insert, inspect, select, text

from app import create_app
from app.accounts.registration import register
from app.cli.errors import DatabaseFailure
from app.database.transactions import reading, writing
from app.database.types import UtcDateTime
from app.extensions import db
from app.operations.copy_database import CopyError, copy_database
from app.profiles.services import write_post
from app.services import services
from tests.conftest import make_config, sqlite_url
from tests.services import Databases


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Make installations, on SQLite by name or on whatever a URL says."""
    apps = []

    def start(where: str, *, is_migrated: bool = True) -> Flask:
        if "://" not in where:
            (tmp_path / where).mkdir()
            where = sqlite_url(tmp_path / where)
        app = create_app(make_config(tmp_path, where))
        apps.append(app)
        if is_migrated:
            with app.app_context():
                upgrade()
        return app

    yield start
    for app in apps:
        services(app).engine.dispose()


@pytest.fixture
def postgresql(databases: Databases) -> Iterator[str]:
    """The URL of a PostgreSQL database of one's own, with nothing in it."""
    url = databases.create()
    yield url
    databases.drop(url)


def copy(source: Flask, target_url: str, **env: str) -> Result:
    return source.test_cli_runner().invoke(args=["copy-database", target_url], env=env)


def url_of(app: Flask) -> str:
    return str(app.config["SQLALCHEMY_DATABASE_URI"])


CHOICES = {"kind": "pair", "role": "admin"}  # where a table takes nothing else
MOMENT = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)


def fill(connection: Connection) -> None:
    """Put a row into every table that there is, and two where nothing hinders."""
    for table in db.metadata.sorted_tables:
        is_about_pairs = len(table.foreign_keys) > 1
        for number in (1,) if is_about_pairs else (1, 2):
            connection.execute(insert(table), values(table, number))


def values(table: Table, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    others = 0
    for column in table.columns:
        if column.references(db.metadata.tables["users"].c.id):
            row[column.name] = number + others
            others += 1
        elif column.foreign_keys:
            row[column.name] = number
        elif column.nullable and number == 2:
            row[column.name] = None
        elif isinstance(column.type, UtcDateTime):
            row[column.name] = MOMENT + timedelta(days=number)
        elif isinstance(column.type, Boolean):
            row[column.name] = number == 1
        elif column.type.python_type is int:
            row[column.name] = number
        elif column.name in CHOICES:
            row[column.name] = CHOICES[column.name]
        else:
            row[column.name] = f"{table.name}\t'Ё'\n👍 {number}"[: column.type.length or 99]
    return row


def content(engine: Engine) -> dict[str, Any]:
    with reading(engine) as connection:
        return {
            table.name: connection.execute(select(table).order_by(*table.primary_key)).all()
            for table in db.metadata.sorted_tables
        }


def tables(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return inspect(connection).get_table_names()


def test_every_row_of_every_table_is_copied_there_and_back(
    start: Callable[..., Flask], postgresql: str
) -> None:
    old = start("old")
    with writing(services(old).engine) as connection:
        fill(connection)

    there = copy(old, postgresql)
    middle = start(postgresql, is_migrated=False)
    new = start("new")
    back = copy(middle, url_of(new))

    assert (there.exit_code, back.exit_code) == (0, 0), there.output + back.output
    before = content(services(old).engine)
    assert all(before.values())
    assert content(services(middle).engine) == before
    assert content(services(new).engine) == before
    with middle.app_context():
        assert middle.test_client().get("/readyz").status_code == 200


def test_ids_that_were_given_once_are_given_to_nobody_else(
    start: Callable[..., Flask], postgresql: str
) -> None:
    def write() -> int:
        return int(write_post(1, "ann", "Пост", "Текст")[0]["id"])

    old = start("old")
    with old.app_context():
        register("ann", "ann@example.com", "correct horse battery")
        given = [write() for _ in range(3)]
        with writing() as connection:
            connection.execute(text("DELETE FROM posts WHERE id > 1"))
    copy(old, postgresql)
    middle, new = start(postgresql, is_migrated=False), start("new")
    with middle.app_context():
        given.append(write())
        with writing() as connection:
            connection.execute(text("DELETE FROM posts"))
    copy(middle, url_of(new))
    with new.app_context():
        given.append(write())
        someone = register("bob", "bob@example.com", "correct horse battery")

    assert given == [1, 2, 3, 4, 5]
    assert someone["id"] == 2


def test_target_that_is_not_empty_is_refused_and_stays_as_it_is(
    start: Callable[..., Flask], postgresql: str
) -> None:
    old, full = start("old"), start(postgresql)
    for app, name in ((old, "ann"), (full, "eve")):
        with app.app_context():
            register(name, f"{name}@example.com", "correct horse battery")
    before = content(services(full).engine)

    done = copy(old, postgresql)

    assert done.exit_code == 1
    assert "not empty: there are rows in users" in done.output
    assert content(services(full).engine) == before


def test_other_revisions_are_refused(start: Callable[..., Flask], postgresql: str) -> None:
    old, target = start("old"), start(postgresql)
    with target.app_context():
        downgrade(revision="0001")
    to_earlier = copy(old, postgresql)
    with old.app_context():
        downgrade(revision="0001")
    from_earlier = copy(old, postgresql)
    not_migrated = copy(start("new", is_migrated=False), postgresql)

    assert to_earlier.exit_code == 1
    assert from_earlier.exit_code == not_migrated.exit_code == DatabaseFailure.exit_code
    assert "its revision: 0001" in to_earlier.output
    for done in (from_earlier, not_migrated):
        assert "./beseda db upgrade" in done.output


def test_tables_of_somebody_else_are_not_touched(
    start: Callable[..., Flask], postgresql: str
) -> None:
    target = services(start(postgresql, is_migrated=False)).engine
    with writing(target) as connection:
        connection.execute(text("CREATE TABLE users (id int)"))

    done = copy(start("old"), postgresql)

    assert done.exit_code == 1
    assert "its revision: none" in done.output
    assert tables(target) == ["users"]


def test_what_the_target_refuses_leaves_nothing_there(
    start: Callable[..., Flask], postgresql: str
) -> None:
    old, target = start("old"), start(postgresql, is_migrated=False)
    with writing(services(old).engine) as connection:
        fill(connection)
        connection.execute(text("UPDATE posts SET title = 'secret' || char(0)"))

    done = copy(old, postgresql)

    assert done.exit_code == DatabaseFailure.exit_code
    assert "secret" not in done.output
    assert "Traceback" not in done.output
    assert tables(services(target).engine) == []


def test_what_the_target_changes_is_found_before_it_is_committed(
    start: Callable[..., Flask], postgresql: str
) -> None:
    old, target = start("old"), start(postgresql)
    with writing(services(old).engine) as connection:
        fill(connection)
    with writing(services(target).engine) as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.content := NEW.content || '.'; RETURN NEW; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER spoil BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION spoil()"
        )

    done = copy(old, postgresql)

    assert done.exit_code == 1
    assert "copy of messages differ" in done.output
    assert not any(content(services(target).engine).values())


def test_what_is_written_meanwhile_is_told_and_does_no_harm(
    start: Callable[..., Flask], postgresql: str
) -> None:
    old = start("old")
    target = services(start(postgresql, is_migrated=False)).engine
    with old.app_context():
        register("ann", "ann@example.com", "correct horse battery")
        late: list[Any] = []

        def meanwhile(_rows: int) -> None:
            late.append(late or write_post(1, "ann", "Пост", "Текст"))

        copied = copy_database(services(old).engine, target, meanwhile)

    assert late
    assert copied.is_outdated
    assert copied.tables == copied.tables | {"users": 1, "posts": 0}
    assert content(target)["posts"] == []


def test_progress_counts_every_row_as_copied_and_as_compared(
    start: Callable[..., Flask], postgresql: str
) -> None:
    old, target = start("old"), start(postgresql, is_migrated=False)
    progress: list[int] = []
    with writing(services(old).engine) as connection:
        fill(connection)

    copied = copy_database(services(old).engine, services(target).engine, progress.append)

    assert not copied.is_outdated
    assert sum(progress) == 2 * sum(copied.tables.values())
    with pytest.raises(CopyError, match="not empty"):
        copy_database(services(old).engine, services(target).engine, progress.append)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://127.0.0.1/beseda", "Expected sqlite:///"),
        ("nothing", "a URL of SQLite or PostgreSQL"),
        ("postgresql://someone:hidden@127.0.0.1:1/beseda", "PGPASSWORD"),
    ],
)
def test_url_that_cannot_be_used_is_a_mistake_of_usage(
    start: Callable[..., Flask], url: str, reason: str
) -> None:
    done = copy(start("old", is_migrated=False), url)

    assert done.exit_code == 2
    assert reason in " ".join(done.output.split())
    assert "hidden" not in done.output


def test_password_may_come_by_the_environment_and_is_not_shown(
    start: Callable[..., Flask],
) -> None:
    old, url = start("old"), "postgresql://someone:hidden@127.0.0.1:1/beseda"

    done = old.test_cli_runner().invoke(args=["copy-database"], env={"TARGET_DATABASE_URL": url})

    assert done.exit_code == DatabaseFailure.exit_code
    assert "The database cannot be used: " in done.output
    assert "hidden" not in done.output


def test_database_is_not_copied_onto_itself(start: Callable[..., Flask]) -> None:
    old = start("old")

    assert "of this installation itself" in copy(old, url_of(old)).output
