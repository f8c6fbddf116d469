"""`/healthz` and `/readyz`: what an operator's probes are told."""

import sqlite3
from pathlib import Path

from flask_migrate import downgrade, upgrade

from app import create_app
from app.database import revisions
from tests.conftest import make_config, sqlite_url


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


def test_empty_database_is_not_ready(tmp_path: Path) -> None:
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path)))

    assert app.test_client().get("/readyz").json["code"] == "not_migrated"
    app.extensions["engine"].dispose()


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
    app.extensions["engine"].dispose()


def test_process_that_is_about_to_stop_is_not_ready(app, client) -> None:
    app.extensions["realtime"].is_stopping = True
    try:
        answer = client.get("/readyz")
    finally:
        app.extensions["realtime"].is_stopping = False

    assert answer.status_code == 503
    assert answer.json["code"] == "draining"
