"""One connection cannot stop a worker: requests without a pause, bodies that nobody reads, idling."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.security.raw import converse, dial, head_of, parse, read_all
from tests.servers import Server

BUSY_SECONDS = 1.0  # what /healthz takes at most beside an attack; unbounded, it took 4 s and more
PING = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def worst_of_health(server: Server) -> Iterator[Callable[[], float]]:
    """Ask for /healthz all the time; the function returns the seconds of the slowest answer."""
    seconds = [0.0]
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not stop.is_set():
                began = time.monotonic()
                client.get("/healthz")
                seconds.append(time.monotonic() - began)
                time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield lambda: max(seconds)
    finally:
        stop.set()
        thread.join()


@pytest.mark.alone
@pytest.mark.parametrize("count", [3000])
def test_pipelined_requests_take_turns_with_others(server: Server, count: int) -> None:
    with worst_of_health(server) as worst, closing(dial(server)) as connection:
        sender = threading.Thread(target=connection.sendall, args=(PING * count,))
        sender.start()
        answered = 0
        while answered < count:
            answered += connection.recv(65536).count(b"HTTP/1.1 200")
        sender.join()

        assert worst() < BUSY_SECONDS


UNREAD = {
    "not found": b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n",
    "no token": b"POST /profiles/api/posts/ HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 100000000000\r\n\r\n",
    "too large": b"POST /accounts/api/token/ HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100000000000\r\n\r\n",
    "wrong method": b"DELETE /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n",
    "a GET": b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n",
}


@pytest.mark.alone
@pytest.mark.parametrize("name", UNREAD)
def test_body_that_nobody_reads_ends_the_connection(server: Server, name: str) -> None:
    with worst_of_health(server) as worst, closing(dial(server)) as connection:
        connection.sendall(UNREAD[name])
        head = head_of(connection)
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 8:
                connection.sendall(b"x" * 65536)

        assert b"Connection: close" in head
        assert time.monotonic() - began < 5
        assert worst() < BUSY_SECONDS


def test_small_body_that_nobody_reads_costs_nobody_the_response(server: Server) -> None:
    answer = httpx.post(f"{server.url}/profiles/api/posts/", content=b"x" * 500_000)

    assert answer.status_code == 401
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(("chunks", "status"), [(9_000, 400), (30_000, 413)])
def test_body_comes_in_so_many_chunks_at_most(server: Server, chunks: int, status: int) -> None:
    head = b"POST /accounts/api/token/verify/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    body = b"1\r\n \r\n" * chunks + b"2\r\n{}\r\n0\r\n\r\n"

    answer = parse(converse(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + body))

    assert answer.status == status
    assert ("token" in json.loads(answer.body)) is (status == 400)  # it was read to its end


@pytest.mark.server
def test_idle_connection_is_kept_for_its_time(tmp_path: Path) -> None:
    with Server(tmp_path, {"KEEPALIVE_SECONDS": "4"}) as server, closing(dial(server)) as kept:
        kept.sendall(PING)
        head_of(kept)
        kept.recv(100)
        time.sleep(3)
        kept.sendall(PING)
        assert head_of(kept).startswith(b"HTTP/1.1 200")
        kept.recv(100)
        began = time.monotonic()
        assert kept.recv(1) == b""
        assert 3 < time.monotonic() - began < 6


@pytest.mark.server
def test_idle_connections_do_not_keep_a_worker(tmp_path: Path) -> None:
    with Server(tmp_path, {"KEEPALIVE_SECONDS": "60"}) as server:
        connections = [dial(server) for _ in range(5)]
        for each in connections:
            each.sendall(PING)
            head_of(each)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 4.5
        for each in connections:
            each.close()


def test_head_that_does_not_end_is_given_up_on_a_kept_connection(server: Server) -> None:
    with closing(dial(server)) as connection:
        connection.sendall(PING)
        head_of(connection)
        connection.recv(100)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        began = time.monotonic()
        read_all(connection)
        assert time.monotonic() - began < 5


MALFORMED = {
    "a large token": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + b"A" * 100_000
        + b"\r\n\r\n",
        431,
    ),
    "large headers": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 10 + b"\r\n",
        431,
    ),
    "many headers": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        431,
    ),
    "no request line": (b"hello\r\n\r\n", 400),
    "a bad length": (
        b"POST /accounts/api/token/ HTTP/1.1\r\nHost: x\r\nContent-Length: one\r\n\r\n",
        400,
    ),
    "a long path": (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "another coding": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
        501,
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_refused_before_the_application_looks_like_all_errors(
    server: Server, name: str
) -> None:
    sent, status = MALFORMED[name]

    answer = parse(converse(server, sent))

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert len(answer.headers["x-request-id"]) == 16
    problem = json.loads(answer.body)
    assert problem["status"] == status
    assert problem["detail"]
    assert ("errors" in problem) is (status == 400)


@pytest.mark.alone
def test_head_of_many_languages_costs_little(server: Server) -> None:
    head = b"GET /nothing HTTP/1.1\r\nHost: x\r\n"
    languages = (b"Accept-Language: " + b"a," * 3900 + b"\r\n") * 4
    with worst_of_health(server) as worst:
        for _ in range(5):
            began = time.monotonic()
            answer = parse(converse(server, head + languages + b"Connection: close\r\n\r\n"))
            assert answer.status == 404
            assert time.monotonic() - began < BUSY_SECONDS

        assert worst() < BUSY_SECONDS


class BoundByDefault(Server):
    """A server that listens where gunicorn.conf.py says."""

    @property
    def web(self) -> list[str]:
        self.env["PORT"] = str(self.port)
        return [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]


@pytest.mark.server
def test_listens_on_ipv6_and_ipv4(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    server = BoundByDefault(tmp_path)
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        server.port = probe.getsockname()[1]
    with server:
        for host in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{host}:{server.port}/healthz").status_code == 200
