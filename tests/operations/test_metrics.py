"""`/metrics`: right with several workers, for those who may see it, and as documented."""

import contextlib
import json
import logging
import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

import logs
from app import create_app, stop
from app.database.transactions import reading
from app.services import services
from tests.conftest import make_config, sqlite_url
from tests.factories import Person, make_person
from tests.servers import ROOT, Server
from tests.talk import chat_path, close_code, hear, join, messages_path, open_socket, send_text

SECONDS = 10
TOKEN = "a-token-for-whoever-counts"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Numbers:
    """What one scrape has brought."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self._samples: Series = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a metric that have these labels."""
        return sum(
            value
            for (of, having), value in self._samples.items()
            if of == f"beseda_{name}" and labels.items() <= having
        )


def scrape(server: Server) -> Numbers:
    answer = httpx.get(f"{server.url}/metrics", headers=BEARER, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return Numbers(answer.text)


def scrape_until(server: Server, is_so: Callable[[Numbers], bool]) -> Numbers:
    """Return the first numbers of which something is true."""
    deadline = time.monotonic() + SECONDS
    while not is_so(numbers := scrape(server)):
        assert time.monotonic() < deadline, sorted(numbers._samples.items(), key=str)
        time.sleep(0.05)
    return numbers


@pytest.fixture(scope="module")
def two_workers(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two workers whose numbers are ours alone."""
    settings = {"DATABASE_URL": postgresql_url, "WEB_CONCURRENCY": "2", "METRICS_TOKEN": TOKEN}
    with Server(tmp_path_factory.mktemp("metrics"), settings) as server:
        scrape_until(server, lambda now: now("workers") == 2)
        yield server


@pytest.fixture
def ann(two_workers: Server) -> Person:
    return make_person(two_workers.url)


@pytest.fixture
def room(two_workers: Server, ann: Person) -> dict[str, Any]:
    return ann.open_room(make_person(two_workers.url))


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    """Closes in the end what was opened."""
    with ExitStack() as stack:
        yield stack


def open_on_both(
    server: Server, sockets: ExitStack, person: Person, room: dict[str, Any]
) -> dict[int, list[ClientConnection]]:
    """Open sockets until each worker has some, and return them by the pids of their workers."""
    of_worker: dict[int, list[ClientConnection]] = {}
    deadline = time.monotonic() + SECONDS
    while len(of_worker) < 2:
        assert time.monotonic() < deadline, of_worker
        request_id = secrets.token_hex(8)
        socket = sockets.enter_context(
            open_socket(
                server.url + chat_path(room["name"]), person.bearer | {"X-Request-ID": request_id}
            )
        )
        of_worker.setdefault(worker_of(server, request_id), []).append(socket)
    return of_worker


def worker_of(server: Server, request_id: str) -> int:
    """Return the pid of the worker that got a request."""
    deadline = time.monotonic() + SECONDS
    line = rf'"pid":(\d+),[^\n]*"request_id":"{request_id}"'
    while not (found := re.search(line, server.log.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(found[1])


def files_of(pid: int) -> list[str]:
    """Name the files in which a worker and its fellows keep their numbers."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    (folder,) = {Path(path).parent for path in re.findall(r"/\S+beseda-metrics-\S+\.db", maps)}
    return sorted(path.name for path in folder.glob("*.db"))


# Several workers


def test_whichever_worker_is_asked_tells_the_sum_of_all(
    two_workers: Server, sockets: ExitStack, ann: Person, room: dict[str, Any]
) -> None:
    before = scrape_until(two_workers, lambda now: now("sockets_open") == 0)
    of_worker = open_on_both(two_workers, sockets, ann, room)
    ears = [socket for each in of_worker.values() for socket in each]

    for socket in ears:
        send_text(socket, "Hello!", client_id="first" if socket is ears[0] else None)
        for ear in ears:
            hear(ear)
    send_text(ears[0], "Hello!", client_id="first")
    hear(ears[0])

    def grown(now: Numbers, name: str, **labels: str) -> float:
        return now(name, **labels) - before(name, **labels)

    now = scrape_until(
        two_workers,
        lambda now: (
            grown(now, "messages_delivered_total") == len(ears) ** 2
            and grown(now, "messages_repeated_total") == 1
        ),
    )
    assert now("sockets_open") == len(ears)
    assert grown(now, "messages_stored_total") == len(ears)
    assert grown(now, "batch_messages_sum") == len(ears) + 1
    assert 0 < grown(now, "batch_messages_count") <= len(ears) + 1
    assert grown(now, "store_seconds_total") > 0
    assert grown(now, "requests_total", status="101") == len(ears)
    assert now("workers") == 2
    assert now("bus_healthy") == 1
    assert now("database_connections_max") == 2 * 10
    assert now("database_connections") >= 2


def test_worker_that_is_killed_takes_its_gauges_along_and_leaves_its_counters(
    two_workers: Server, sockets: ExitStack, ann: Person, room: dict[str, Any]
) -> None:
    scrape_until(two_workers, lambda now: now("sockets_open") == 0)
    of_worker = open_on_both(two_workers, sockets, ann, room)
    (victim, lost), (other, kept) = of_worker.items()
    everybody = len(lost) + len(kept)
    send_text(lost[0], "Hello!")
    for ear in lost + kept:
        hear(ear)
    stored = scrape(two_workers)("messages_stored_total")
    before = scrape_until(
        two_workers,
        lambda now: now("sockets_open") == everybody and now("messages_stored_total") >= stored,
    )
    files = files_of(other)

    os.kill(victim, signal.SIGKILL)

    after = scrape_until(two_workers, lambda now: now("sockets_open") == len(kept))
    back = scrape_until(two_workers, lambda now: now("workers") == 2)
    send_text(kept[0], "Still here")
    more = scrape_until(
        two_workers,
        lambda now: now("messages_stored_total") == before("messages_stored_total") + 1,
    )
    for name in ("requests_total", "messages_stored_total", "messages_delivered_total"):
        assert before(name) <= after(name) <= back(name) <= more(name), name
    assert files_of(other) == files


def test_workers_that_are_replaced_count_on(
    two_workers: Server, sockets: ExitStack, ann: Person, room: dict[str, Any]
) -> None:
    scrape_until(two_workers, lambda now: now("sockets_open") == 0)
    of_worker = open_on_both(two_workers, sockets, ann, room)
    ears = [socket for each in of_worker.values() for socket in each]
    send_text(ears[0], "Hello!")
    before = scrape_until(two_workers, lambda now: now("sockets_open") == len(ears))

    assert two_workers.process
    two_workers.process.send_signal(signal.SIGHUP)
    for ear in ears:
        with contextlib.suppress(ConnectionClosed):
            while True:
                ear.recv(SECONDS)
    deadline = time.monotonic() + SECONDS
    while any(Path(f"/proc/{pid}").exists() for pid in of_worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    def closed(now: Numbers) -> float:
        name, labels = "socket_closes_total", {"code": "1012", "by": "server"}
        return now(name, **labels) - before(name, **labels)

    after = scrape_until(two_workers, lambda now: now("workers") == 2 and closed(now) == len(ears))
    assert after("sockets_open") == 0
    assert after("messages_stored_total") >= before("messages_stored_total")
    assert after("requests_total") > before("requests_total")


@pytest.mark.server
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_server_that_ends_leaves_no_files(tmp_path: Path, end: signal.Signals) -> None:
    server = Server(tmp_path)
    server.migrate()
    server.start()
    try:
        request_id = secrets.token_hex(8)
        httpx.get(f"{server.url}/healthz", headers={"X-Request-ID": request_id})
        maps = Path(f"/proc/{worker_of(server, request_id)}/maps").read_text()
        (folder,) = {Path(each).parent for each in re.findall(r"/\S+beseda-metrics-\S+\.db", maps)}
        assert folder.stat().st_mode & 0o777 == 0o700
        assert server.process
        server.process.send_signal(end)  # to the master alone
        server.process.wait(SECONDS)
    finally:
        server.stop()

    deadline = time.monotonic() + SECONDS
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# What is counted


def test_end_of_a_socket_is_counted_by_its_code_and_its_side(
    two_workers: Server, ann: Person, room: dict[str, Any]
) -> None:
    before = scrape(two_workers)

    for code in (1000, 4408, 4999):
        with join(ann, room) as chat:
            chat.close(code)
    with join(ann, room | {"name": "nobodys"}) as refused:
        assert close_code(refused) == 4404

    def closed(now: Numbers, code: str, by: str) -> float:
        name = "socket_closes_total"
        return now(name, code=code, by=by) - before(name, code=code, by=by)

    scrape_until(
        two_workers,
        lambda now: (
            closed(now, "1000", "client") == 1
            and closed(now, "4408", "client") == 1
            and closed(now, "4408", "server") == 0
            and closed(now, "other", "client") == 1
            and closed(now, "4404", "server") == 1
        ),
    )


def test_messages_that_a_socket_had_missed_are_replayed(
    two_workers: Server, ann: Person, room: dict[str, Any]
) -> None:
    for text in "abc":
        ann.post(messages_path(room), {"content": text})
    before = scrape(two_workers)

    with join(ann, room, after=0) as late:
        assert [hear(late)["content"] for _ in "abc"] == list("abc")

    scrape_until(
        two_workers,
        lambda now: now("messages_replayed_total") == before("messages_replayed_total") + 3,
    )


def test_defect_is_an_error_in_the_log_and_a_500(two_workers: Server, ann: Person) -> None:
    posts = "/profiles/api/posts/"
    before = scrape(two_workers)
    with psycopg.connect(two_workers.env["DATABASE_URL"]) as database:
        database.execute("ALTER TABLE posts RENAME TO posts_elsewhere")

    try:
        assert ann.get(posts).status_code == 500
    finally:
        with psycopg.connect(two_workers.env["DATABASE_URL"]) as database:
            database.execute("ALTER TABLE posts_elsewhere RENAME TO posts")

    after = scrape_until(
        two_workers, lambda now: now("errors_logged_total") == before("errors_logged_total") + 1
    )
    assert after("requests_total", route=posts, method="GET", status="500") == 1


# One worker, asked without a server


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Flask]:
    """An application on SQLite that shows its metrics."""
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path), METRICS_TOKEN=TOKEN))
    with app.app_context():
        upgrade()
    yield app
    services(app).engine.dispose()


def numbers_of(app: Flask) -> Numbers:
    return Numbers(app.test_client().get("/metrics", headers=BEARER).text)


def test_requests_are_counted_by_route_method_and_status(counting: Flask) -> None:
    client = counting.test_client()
    client.get("/healthz")
    client.post("/healthz")
    for room_name in "ab":
        client.get(f"/messenger/api/chatrooms/{room_name}/messages/")
    client.get("/a/path/of/a/stranger")
    client.open("/healthz", method="BREW")

    now = numbers_of(counting)

    messages = "/messenger/api/chatrooms/<room_name>/messages/"
    assert now("requests_total", route="/healthz", method="GET", status="200") == 1
    assert now("requests_total", route=messages, method="GET", status="401") == 2
    assert now("requests_total", route="none", method="POST", status="405") == 1
    assert now("requests_total", route="none", method="GET", status="404") == 1
    assert now("requests_total", route="none", method="other") == 1
    assert now("request_seconds_count", route=messages, method="GET") == 2
    assert now("request_seconds_sum", route=messages, method="GET") > 0


def test_bus_that_is_away_is_seen(tmp_path: Path) -> None:
    settings = {"REDIS_URL": "redis://127.0.0.1:1/0", "METRICS_TOKEN": TOKEN}
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path), **settings))

    assert numbers_of(app)("bus_healthy") == 0
    services(app).engine.dispose()


def test_single_worker_has_a_healthy_bus(counting: Flask) -> None:
    assert numbers_of(counting)("bus_healthy") == 1


def test_connections_are_counted_by_what_they_do(counting: Flask) -> None:
    idle = numbers_of(counting)
    with reading(services(counting).engine):
        lent = numbers_of(counting)

    assert idle("database_connections", state="lent") == 0
    assert lent("database_connections", state="lent") == 1


def test_worker_that_leaves_writes_down_what_it_has_counted(counting: Flask) -> None:
    logging.getLogger("app").error("the last thing that happened")

    stop(counting)

    written = Numbers(services(counting).metrics.text().decode())
    assert written("errors_logged_total") == 1


# Who may see it


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "not_authenticated"),
        ({"Authorization": f"Basic {TOKEN}"}, "not_authenticated"),
        ({"Authorization": "Bearer"}, "token_not_valid"),
        ({"Authorization": f"Bearer {TOKEN}x"}, "token_not_valid"),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, "token_not_valid"),
        ({"Authorization": "Bearer \xe9"}, "token_not_valid"),
    ],
)
def test_without_the_token_nothing_is_shown(
    counting: Flask, headers: dict[str, str], code: str
) -> None:
    answer = counting.test_client().get(f"/metrics?token={TOKEN}", headers=headers)

    assert answer.status_code == 401
    assert answer.json["code"] == code
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_without_the_setting_there_is_nothing(client: FlaskClient) -> None:
    assert client.get("/metrics", headers=BEARER).status_code == 404


# What is written about it


def exported(app: Flask) -> set[str]:
    """Name all series that there may be, whether they have been counted yet or not."""
    names = set()
    for family in numbers_of(app).families:
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def test_every_metric_is_explained_and_no_other(counting: Flask) -> None:
    table = OPERATIONS.partition("## Metrics")[2].partition("\n## ")[0]
    explained = set(re.findall(r"^\| `(beseda_\w+)`", table, re.M))
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in numbers_of(counting).families
    }

    assert explained == families


def test_dashboard_and_alerts_ask_for_what_there_is(counting: Flask) -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    asked = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ] + re.findall(r"^ *expr: (.*)$", OPERATIONS, re.M)
    names = exported(counting)

    assert len(asked) > 15
    for expression in asked:
        found = set(re.findall(r"beseda_\w+", expression))
        assert found, expression
        assert found <= names, expression
    labels = {label for each in asked for label in re.findall(r"(\w+)=~?\"", each)}
    assert labels <= {"route", "method", "status", "code", "by", "state"}


def test_every_field_of_the_log_is_explained() -> None:
    table = OPERATIONS.partition("## The log")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)`", table, re.M)

    assert set(logs.FIELDS) < set(explained)
    assert set(explained) - set(logs.FIELDS) == {
        *("time", "level", "logger", "pid", "message", "traceback"),
    }
