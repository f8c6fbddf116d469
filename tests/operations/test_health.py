"""`/healthz` and `/readyz`: what an operator's probes are told."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import downgrade, upgrade
from sqlalchemy import text

from app import create_app
from app.database import revisions
from app.database.transactions import reading, writing
from app.services import services
from tests.apps import make_config, sqlite_url
from tests.services import Databases


def test_process_that_serves_is_alive_and_ready(client) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").status_code == 200


def test_tables_of_another_release_are_not_ready(app, client) -> None:
    with app.app_context():
        downgrade(revision="base")

    try:
        answer = client.get("/readyz")
        life = client.get("/healthz")
    finally:
        with app.app_context():
            upgrade()

    assert answer.status_code == 503
    assert answer.json["code"] == "not_migrated"
    assert life.status_code == 200


def set_revision(app: Flask, revision: str) -> None:
    """Let the tables look as if a release had made them that this one does not know."""
    with writing(services(app).engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


@pytest.fixture
def later(app: Flask) -> Iterator[str]:
    """The revision of the tables, which a later release has made."""
    set_revision(app, "9999")
    yield "9999"
    set_revision(app, *revisions.heads())


@pytest.mark.usefixtures("later")
def test_tables_of_a_later_release_are_served(client: FlaskClient) -> None:
    assert client.get("/readyz").status_code == 200


def test_upgrade_leaves_tables_of_a_later_release_alone(app: Flask, later: str) -> None:
    done = app.test_cli_runner().invoke(args=["db", "upgrade"])

    assert done.exit_code == 0
    with reading(services(app).engine) as connection:
        assert revisions.found_in(connection) == {later}


@pytest.mark.usefixtures("later")
def test_downgrade_of_a_later_release_is_refused(app: Flask) -> None:
    assert app.test_cli_runner().invoke(args=["db", "downgrade", "base"]).exit_code == 1


@pytest.mark.usefixtures("later")
def test_commands_work_with_tables_of_a_later_release(app: Flask) -> None:
    assert app.test_cli_runner().invoke(args=["users", "list"]).exit_code == 0


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def app_in_ascii(
    databases: Databases, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Flask]:
    """The application on a database of PostgreSQL that does not keep texts in UTF-8."""
    url = databases.create(request.param)
    yield create_app(make_config(tmp_path, url))
    databases.drop(url)


def test_database_without_utf8_is_named(app_in_ascii: Flask) -> None:
    answer = app_in_ascii.test_client().get("/readyz")
    done = app_in_ascii.test_cli_runner().invoke(args=["db", "upgrade"])

    assert (answer.status_code, answer.json["code"]) == (503, "database_encoding")
    assert done.exit_code == 1
    assert "Beseda needs UTF-8" in done.output


def test_upgrade_of_a_database_that_is_away_says_so_in_a_sentence(tmp_path: Path) -> None:
    app = create_app(make_config(tmp_path, "postgresql://nobody@127.0.0.1:1/nothing"))

    done = app.test_cli_runner().invoke(args=["db", "upgrade"])

    assert done.exit_code == 1
    assert "The database cannot be used" in done.output


def test_empty_database_is_not_ready(tmp_path: Path) -> None:
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path)))

    assert app.test_client().get("/readyz").json["code"] == "not_migrated"
    services(app).engine.dispose()


def test_database_that_is_away_is_named(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    app = create_app(make_config(tmp_path, url))

    answer = app.test_client().get("/readyz")

    assert answer.status_code == 503
    assert answer.json["code"] == "database_unavailable"
    assert answer.headers["Retry-After"]


def test_redis_that_is_away_degrades_and_no_more(tmp_path: Path) -> None:
    config = make_config(tmp_path, sqlite_url(tmp_path), REDIS_URL="redis://127.0.0.1:1/0")
    app = create_app(config)
    with sqlite3.connect(tmp_path / "beseda.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.executemany(
            "INSERT INTO alembic_version VALUES (?)", [(each,) for each in revisions.heads()]
        )
    database.close()

    answer = app.test_client().get("/readyz")

    assert answer.status_code == 200
    assert answer.json == {"status": "degraded"}
    services(app).engine.dispose()


def test_process_that_is_about_to_stop_is_not_ready(app, client) -> None:
    services(app).realtime.is_stopping = True
    try:
        answer = client.get("/readyz")
    finally:
        services(app).realtime.is_stopping = False

    assert answer.status_code == 503
    assert answer.json["code"] == "draining"
