"""What tests stand on: real databases, the real application, real server processes.

SQLite is always there. PostgreSQL and Redis are found where the environment says
(`TEST_POSTGRESQL_URL`, `TEST_REDIS_URL`), on this machine's usual ports, or brought by a
package; a test that finds none is skipped loudly, and in CI (`CI=true`) fails.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from flask_migrate import downgrade, upgrade
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import text

from app import create_app
from app.extensions import db
from app.http.json import encode
from app.openapi.document import build
from config import Config
from tests import services
from tests.factories import close_clients
from tests.leaks import leaks_of
from tests.openapi.documented import Document
from tests.servers import STARTED, Server
from tests.talk import SECONDS

IN_CI = os.environ.get("CI") == "true"


def unavailable(what: str) -> None:
    """Skip a test for want of something, or fail it in CI."""
    if IN_CI:
        pytest.fail(f"{what} is needed in CI and is not there")
    pytest.skip(f"{what} is not there")


@pytest.fixture(scope="session", autouse=True)
def clients() -> Iterator[None]:
    """Close what `make_person` has opened."""
    yield
    close_clients()


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_logged() -> Iterator[None]:
    """Look through the logs of all servers for secrets, when all tests are over."""
    yield
    leaks = {str(log): found for log in STARTED if (found := leaks_of(log))}
    if leaks:
        pytest.fail(f"the logs say what they must not: {leaks}", pytrace=False)


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty PostgreSQL database that is dropped afterwards."""
    with services.postgresql(tmp_path_factory.mktemp("postgresql")) as url:
        if url is None:
            unavailable("PostgreSQL")
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis."""
    with services.redis(tmp_path_factory.mktemp("redis")) as url:
        if url is None:
            unavailable("Redis")
        yield url


def make_config(folder: Path, database_url: str, **settings: str) -> Config:
    """Return the settings of an application that keeps its files in a folder."""
    return Config.from_env(
        {
            "DATABASE_URL": database_url,
            "JWT_SECRET_KEY": "a secret of the tests, not of yours",
            "MEDIA_ROOT": str(folder / "media"),
            "LOG_LEVEL": "WARNING",
            "RATELIMIT_ENABLED": "false",
        }
        | settings
    )


def sqlite_url(folder: Path) -> str:
    """Return the URL of a SQLite file in a folder."""
    return f"sqlite:///{folder / 'beseda.db'}"


@pytest.fixture(scope="session")
def postgresql_app(
    postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[APIFlask]:
    """The application on a migrated PostgreSQL database."""
    app = create_app(make_config(tmp_path_factory.mktemp("app"), postgresql_url))
    with app.app_context():
        upgrade()
    yield app
    with app.app_context():
        downgrade(revision="base")
    app.extensions["engine"].dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[APIFlask]:
    """The application on an empty, migrated database; once on each kind."""
    if request.param == "postgresql":
        app = request.getfixturevalue("postgresql_app")
        tables = ", ".join(table.name for table in db.metadata.sorted_tables)
        with app.extensions["engine"].begin() as connection:
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
        yield app
        return
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path)))
    with app.app_context():
        upgrade()
    yield app
    app.extensions["engine"].dispose()


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    """A client of the application without a server between them."""
    return app.test_client()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server on SQLite, started as `make run` starts it; shared by all tests.

    Rooms and people of one test are strangers to another's: make your own.
    """
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")  # while it is there, its thread has a running event loop
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        unavailable("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Any]:
    """Opens a tab with cookies of its own on a page of a server; `open_tab(url)`."""
    with ExitStack() as stack:

        def open_tab(url: str) -> Page:
            context = stack.enter_context(browser.new_context(locale="ru-RU"))
            context.set_default_timeout(SECONDS * 1000)
            page = context.new_page()
            page.goto(url)
            return page

        yield open_tab


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The OpenAPI document of the application."""
    folder = tmp_path_factory.mktemp("document")
    app = create_app(make_config(folder, sqlite_url(folder)))
    with app.app_context():
        return Document(json.loads(encode(build(app))))


@pytest.fixture
def documented(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every answer that a test gets by httpx against the OpenAPI document."""
    send = httpx.Client.send

    def send_and_check(
        client: httpx.Client, request: httpx.Request, **options: Any
    ) -> httpx.Response:
        response = send(client, request, **options)
        document.check(
            request.method,
            str(request.url),
            response.status_code,
            response.headers,
            response.read(),
        )
        return response

    monkeypatch.setattr(httpx.Client, "send", send_and_check)
