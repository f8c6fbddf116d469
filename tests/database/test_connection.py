"""Connections to PostgreSQL: who waits, what a URL means, what a statement is called."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.errors import DuplicatePreparedStatement
from sqlalchemy import make_url

from app.database.connection import Connection
from app.database.engine import connector
from config_urls import database_url
from tests.servers import ROOT

PROGRAM = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
from sqlalchemy import create_engine, text
from app.database.prepared import Prepared
from app.database.engine import engine_options, prepare
from app.database.transactions import reading

url = sys.argv[1]
engine = create_engine(url, **engine_options(url, 2))
prepare(engine)
said = []

def ask(seconds):
    with reading(engine) as connection:
        connection.execute(text("SELECT pg_sleep(:seconds), repeat('x', 4000000)"), {"seconds": seconds})
    said.append(f"asked {seconds}")

def chat():
    for _ in range(3):
        gevent.sleep(0.01)
        said.append("chat")

with gevent.Timeout(0.1, False), reading(engine) as connection:
    Prepared(text("SELECT pg_sleep(1), 'old'")).all(connection, {})
with reading(engine) as connection:
    said.append(*Prepared(text("SELECT 'new'")).all(connection, {})[0])

gevent.joinall([gevent.spawn(ask, 2), gevent.spawn(ask, 0.5), gevent.spawn(chat)], raise_error=True)
print(*said, sep=", ")
"""


def test_who_waits_for_postgresql_holds_nobody_up_and_may_give_up(postgresql_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, database_url(postgresql_url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.strip() == "new, chat, chat, chat, asked 0.5, asked 2", done.stderr


@pytest.fixture
def connect(postgresql_url: str) -> Iterator[Callable[..., Connection]]:
    """Connect as the application does; `connect(query="…")` adds to the URL."""
    opened: list[Connection] = []

    def connect(query: str = "") -> Connection:
        opened.append(connector(database_url(postgresql_url + query))())
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def test_clients_that_share_a_server_connection_ask_their_own_statements(
    connect: Callable[..., Connection],
) -> None:
    one = connect()
    other = Connection(one.pgconn)  # as behind a proxy that shares out server connections

    assert one.ask("SELECT 'one'", ()) == [("one",)]
    assert other.ask("SELECT 'other'", ()) == [("other",)]
    assert one.ask("SELECT 'other'", ()) == [("other",)]  # the server has prepared that one
    assert other.ask("SELECT 'one'", ()) == [("one",)]


def test_statement_that_the_server_has_prepared_already_works_in_the_next_transaction(
    connect: Callable[..., Connection],
) -> None:
    one = connect()
    other = Connection(one.pgconn)
    one.ask("SELECT 1", ())

    other.ask("BEGIN", ())
    with pytest.raises(DuplicatePreparedStatement):
        other.ask("SELECT 1", ())
    other.ask("ROLLBACK", ())

    other.ask("BEGIN", ())
    assert other.ask("SELECT 1", ()) == [(1,)]


def test_idle_connections_keep_no_result_in_memory(connect: Callable[..., Connection]) -> None:
    large = "SELECT repeat('x', 1000) FROM generate_series(1, 30000)"
    connect().ask(large, ())
    before = resident_bytes()  # what malloc keeps of a freed result serves the next ones

    for _ in range(3):
        connect().ask(large, ())

    assert resident_bytes() - before < 30_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    "variables",
    [
        {"PGTZ": "Asia/Tokyo"},
        {"PGCLIENTENCODING": "LATIN1"},
        {"PGDATESTYLE": "German"},
        {"PGOPTIONS": "-c timezone=Asia/Tokyo -c datestyle=SQL,DMY"},
    ],
    ids=lambda each: next(iter(each)),
)
def test_variables_of_libpq_change_no_value(
    connect: Callable[..., Connection],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    connection = connect()

    row = connection.execute(
        "SELECT timestamptz '2026-02-03 04:05:06+00', '2026-02-03'::date::text, 'Я'"
    ).fetchone()
    assert row == (datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-02-03", "Я")
    assert row[0].utcoffset() == timedelta(0)


def test_options_of_the_url_stand_beside_ours(connect: Callable[..., Connection]) -> None:
    connection = connect("?options=-csearch_path%3Dchat%20-ctimezone%3DAsia/Tokyo")

    assert connection.execute("SHOW search_path").fetchone() == ("chat",)
    assert connection.execute("SHOW timezone").fetchone() == ("UTC",)


def test_connection_beside_the_pool_reads_the_url_as_the_engine_does() -> None:
    url = database_url("postgresql://ann:a%20b%2Fc%25+d@db.example/my%20chat?sslmode=require")
    _, options = make_url(url).get_dialect()().create_connect_args(make_url(url))

    assert connector(url).keywords.items() >= options.items()  # type: ignore[attr-defined]
    assert options["password"] == "a b/c%+d"
    assert options["dbname"] == "my chat"
    assert options["sslmode"] == "require"
