"""What tests stand on: real databases, the real application, real server processes.

SQLite is always there. PostgreSQL is the one that `TEST_POSTGRESQL_URL` names, the one on this
machine's usual port, or one that a package brings; Redis is the one that `TEST_REDIS_URL` names, or
one of our own. A test that finds none is skipped loudly, and in CI (`CI=true`) fails.

Tests run in several processes at once (`make test`). Each process has its own databases, servers and
ports, and its own Redis. Four marks say what a test needs:

- `server`: it starts a server or a browser. Set by itself where a fixture of the test is annotated
  as one (`Iterator[Server]`, or a class with a field `server: Server`). A test that starts one in its
  body has to be marked.
- `alone`: it measures time, so no other test runs at that moment.
- `long`: it is slow by nature and runs in `make test-long` only.
- `slow`: it computes for a second or more, and `make test-quick` leaves it out.
"""

import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import Engine
from werkzeug.routing import Rule

from app import create_app
from app.accounts import passwords
from app.database import engine
from app.database.transactions import writing
from app.extensions import db
from app.http.json import encode
from app.openapi.document import build
from app.services import services as services_of
from tests import browsers, buckets, processes, servers, services
from tests.alone import Turns
from tests.apps import make_app, make_config, sqlite_url
from tests.delivery.machines import PostgresServer
from tests.factories import close_clients
from tests.leaks import leaks_of
from tests.openapi.documented import Document
from tests.servers import STARTED, Server
from tests.talk import SECONDS

IN_CI = os.environ.get("CI") == "true"
HASHER = passwords._hasher
STARTED_BY_FIXTURES = (servers.Server, Browser, PostgresServer)

_BUILDERS = "_build", "_build_unknown"  # of the URL of a werkzeug rule

turns = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until everything is imported: see `pytest_collection_finish`
    config.stash[turns] = Turns(os.environ.get("PYTEST_XDIST_TESTRUNUID"))


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[turns].close()
    processes.tidy_up()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with a fixture that starts a server or a browser, and sort the tests.

    First those that run alone, one after another, while the other processes wait once; then those
    with a browser, of which one keeps a processor busy, all in one process; then those with a
    server and those that are slow by nature, so that none of them is left for the end.
    """
    for item in items:
        definitions = item._fixtureinfo.name2fixturedefs.values()
        if any(starts_something(each[-1].func) for each in definitions):
            item.add_marker("server")
    items.sort(
        key=lambda item: (
            not is_marked(item, "alone"),
            "browser" not in item._fixtureinfo.name2fixturedefs,
            not (is_marked(item, "server") or is_marked(item, "long")),
        )
    )


def pytest_collection_finish() -> None:
    """Keep the garbage collector away from all that is there before the first test.

    It would look through these 350,000 objects again and again, for a third of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


def is_marked(item: pytest.Item | None, mark: str) -> bool:
    """Tell whether there is a test, and it has a mark."""
    return item is not None and item.get_closest_marker(mark) is not None


@cache
def starts_something(fixture: Callable[..., Any]) -> bool:
    """Tell whether a fixture's annotation says that it gives a server or a browser, or holds one."""
    given = get_type_hints(fixture).get("return")
    given = next(iter(get_args(given)), given)  # of Iterator[Server]
    if not isinstance(given, type):
        return False
    held = get_type_hints(given).values() if given.__module__.startswith("tests.") else ()
    return any(
        isinstance(each, type) and issubclass(each, STARTED_BY_FIXTURES) for each in (given, *held)
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the clock of pytest-timeout starts
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Let tests marked `alone` run alone, and no test start a server that is not marked so."""
    servers.may_start = is_marked(item, "server") or is_marked(item, "long")
    alone, keep = is_marked(item, "alone"), is_marked(nextitem, "alone")
    with item.config.stash[turns].take(alone=alone, keep=keep):
        return (yield)


def unavailable(what: str) -> None:
    """Skip a test for want of something, or fail it in CI."""
    if IN_CI:
        pytest.fail(f"{what} is needed in CI and is not there")
    pytest.skip(f"{what} is not there")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """Let a report go from one process to another that shows half a character."""
    return encodable((yield))


def encodable(value: Any) -> Any:
    """Return a value with the lone surrogates of its strings escaped, which UTF-8 has no form for."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {key: encodable(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(map(encodable, value))
    return value


@pytest.fixture(scope="session", autouse=True)
def clients() -> Iterator[None]:
    """Close what `make_person` has opened."""
    yield
    close_clients()


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """Hash passwords of this process at the least cost, since most tests only need somebody.

    What a server hashes costs as much as ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_routes() -> Iterator[None]:
    """Compile a route once in this process: most of the time to make an application goes there.

    What a route was compiled to is the same for all applications, and nothing changes it.
    """
    compile_rule = Rule.compile
    known: dict[tuple[str, str, str | None], dict[str, Any]] = {}

    def compile_once(rule: Rule) -> None:
        key = rule.rule, repr(rule.defaults), rule.subdomain
        if key not in known:
            compile_rule(rule)
            compiled = "_parts", "_trace", "_converters", "arguments"
            known[key] = {name: getattr(rule, name) for name in compiled}
            known[key] |= {name: getattr(rule, name).__func__ for name in _BUILDERS}
        vars(rule).update(known[key])
        for name in _BUILDERS:
            setattr(rule, name, known[key][name].__get__(rule))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "compile", compile_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_pool() -> Iterator[None]:
    """Let a crowd of threads wait for connections of this process for as long as it takes.

    Other tests run beside it, and a busy machine opens ten connections to PostgreSQL in seconds.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "POOL_SECONDS", 30)
        yield


@pytest.fixture
def costly_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as Beseda does, for tests that are about it, or about what happens meanwhile."""
    monkeypatch.setattr(passwords, "_hasher", HASHER)


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_logged() -> Iterator[None]:
    """Look through the logs of all servers for secrets, when all tests are over."""
    yield
    leaks = {str(log): found for log in STARTED if (found := leaks_of(log))}
    if leaks:
        pytest.fail(f"the logs say what they must not: {leaks}", pytrace=False)


@pytest.fixture(scope="session")
def databases() -> Iterator[services.Databases]:
    """Databases on a PostgreSQL: `databases.create()` returns the URL of a new, empty one."""
    with services.databases() as databases:
        if databases is None:
            unavailable("PostgreSQL")
        yield databases


@pytest.fixture(scope="module")
def postgresql_url(databases: services.Databases) -> Iterator[str]:
    """The URL of a PostgreSQL database of this module, empty at first."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a Redis."""
    with services.redis() as url:
        if url is None:
            unavailable("Redis")
        yield url


@pytest.fixture(scope="session")
def storage() -> Iterator[str]:
    """The URL of a storage that speaks S3."""
    with buckets.storage() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_app(
    databases: services.Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    """The application on a migrated PostgreSQL database."""
    url = databases.create()
    app = make_app(tmp_path_factory.mktemp("app"), url)
    yield app
    services_of(app).engine.dispose()
    databases.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """The application on an empty, migrated database; once on each kind."""
    with application(request, tmp_path) as app:
        yield app


@contextmanager
def application(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """Make the application of the fixture `app`, and tidy up after it.

    Args:
        request: Its `param` is the kind of database; `bucket`: SQLite, and files in a bucket.
        tmp_path: Where its files go.
    """
    if request.param == "postgresql":
        # The database is that of all tests; the application is not: it remembers people.
        parts = services_of(request.getfixturevalue("postgresql_app"))
        delete_rows(parts.engine)
        app = create_app(make_config(tmp_path, parts.config.DATABASE_URL))
    elif request.param == "bucket":
        app = make_app(tmp_path, MEDIA_URL=buckets.new_url(request.getfixturevalue("storage")))
    else:
        app = make_app(tmp_path)
    yield app
    services_of(app).read_marks.finish()  # or they would be stored for the people of the next
    services_of(app).engine.dispose()


def delete_rows(database: Engine) -> None:
    """Delete all rows of a PostgreSQL database, and begin again to count at 1.

    TRUNCATE does the same, and takes 20 ms, because it makes all files of all tables anew.
    """
    tables = ["message_words", *(table.name for table in reversed(db.metadata.sorted_tables))]
    statements = [
        "SET LOCAL synchronous_commit TO off",
        *(f"DELETE FROM {table}" for table in tables),
        "UPDATE search_state SET indexed_to = 0",
        "SELECT setval(sequencename::regclass, start_value, false)"
        " FROM pg_sequences WHERE last_value IS NOT NULL",
    ]
    with writing(database) as connection:
        connection.exec_driver_sql("; ".join(statements))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
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
    if browsers.find() is None:
        unavailable("Chromium")
    with sync_playwright() as playwright:
        browser = browsers.launch(playwright)
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
