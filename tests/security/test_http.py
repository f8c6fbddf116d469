"""HTTP that is bent: two readings of one request, endless heads and bodies, clients with no hurry."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.factories import Person, make_person
from tests.security.conftest import REQUEST_SECONDS
from tests.security.raw import (
    ask,
    converse,
    dial,
    head_of,
    parse,
    request,
    seconds_until_hung_up,
)
from tests.servers import Server
from tests.talk import messages_path

POST = b"POST /accounts/api/token/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

# What a proxy before us might read otherwise than we do. If it were one request to it and two to
# us, somebody could answer in another's place.
AMBIGUOUS = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two different lengths": b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
    "a list of lengths": b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": b"Content-Length: +2\r\n\r\n{}",
    "a length below nought": b"Content-Length: -2\r\n\r\n{}",
    "a length in other digits": b"Content-Length: \xb2\r\n\r\n{}",
    "a length in hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "a length with a line break": b"Content-Length: 2\r\n 2\r\n\r\n{}",
    "a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunks twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks on two lines": (
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunks that are not the last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "no chunks": b"Transfer-Encoding: identity\r\n\r\n{}",
    "chunks of another name": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks after a tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks with a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks on a folded line": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "a bare return": b"X: a\rContent-Length: 40\r\nContent-Length: 2\r\n\r\n{}",
    "a bare line feed": b"X: a\nContent-Length: 40\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL": b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "no colon": b"X\r\nContent-Length: 2\r\n\r\n{}",
    "no name": b": x\r\nContent-Length: 2\r\n\r\n{}",
    "a space in a name": b"X Y: z\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": b"Host: y\r\nContent-Length: 2\r\n\r\n{}",
    "two types": b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_request_that_may_be_read_in_two_ways_is_refused_with_all_that_follows(
    server: Server, name: str
) -> None:
    received = converse(server, POST + AMBIGUOUS[name] + SMUGGLED)

    assert received.count(b"HTTP/1.1 ") == 1, received
    answer = parse(received)
    assert answer.status in (400, 501)
    assert answer.headers["connection"] == "close"


CHUNKS = {
    "a size in another notation": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a size with an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "a size with a sign": b"+2\r\n{}\r\n0\r\n\r\n",
    "a size below nought": b"-2\r\n{}\r\n0\r\n\r\n",
    "a size of nothing": b"\r\n{}\r\n0\r\n\r\n",
    "a size in front of a space": b"2 \t\r\n{}\r\n0\r\n\r\n",
    "a size that is too small": b"1\r\n{}\r\n0\r\n\r\n",
    "an extension with a bare line feed": b"2;\nx\r\n{}\r\n0\r\n\r\n",
    "a huge size": b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n",
    "an endless size": b"0" * 100_000 + b"2\r\n{}\r\n0\r\n\r\n",
    "an endless extension": b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
    "no end": b"2\r\n{}\r\n",
    "a token in the trailer": b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    "a length in the trailer": b"2\r\n{}\r\n0\r\nContent-Length: 40\r\n\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
def test_body_in_bent_chunks_is_refused_and_nothing_after_it_is_answered(
    server: Server, name: str
) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"

    received = converse(server, head + CHUNKS[name] + SMUGGLED)

    # "{}" lacks both fields, so the request is wrong in itself: what counts is what comes after.
    assert received.count(b"HTTP/1.1 ") <= 2, received
    assert b'"status":"ok"' not in received, received
    assert not received or parse(received).status in (400, 413), received


def test_protocol_is_not_changed_behind_a_proxys_back(server: Server) -> None:
    for sent in (
        request("GET", "/healthz", "Host: x", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request("CONNECT", "127.0.0.1:22", "Host: x"),
    ):
        assert ask(server, sent).status != 101


HEADS = {
    "a long line": (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "an endless line": (b"GET /" + b"x" * 2_000_000, 414),
    "a long header": (request("GET", "/healthz", "Host: x", "X: " + "x" * 9_000), 431),
    "many headers": (
        request("GET", "/healthz", "Host: x", *(f"X{each}: x" for each in range(200))),
        431,
    ),
    "an endless header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 4_000_000, 431),
    "endless headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 700_000, 431),
}


@pytest.mark.parametrize("name", HEADS)
def test_head_without_bounds_is_refused_before_it_ends(server: Server, name: str) -> None:
    sent, status = HEADS[name]

    received = converse(server, sent)

    # Who is still writing when it is refused may find the line dead before it reads why.
    assert not received or parse(received).status in (status, 400), received


def test_body_without_bounds_is_refused_before_it_ends(server: Server) -> None:
    with closing(dial(server)) as connection:
        connection.sendall(POST + b"Content-Length: 1000000000000\r\n\r\n{")
        began = time.monotonic()

        assert head_of(connection).startswith(b"HTTP/1.1 413 ")
        assert time.monotonic() - began < 5


# Clients with no hurry. gunicorn's `keepalive` is what bounds a head, REQUEST_SECONDS the rest.

HEAD_SECONDS = 4
SLOW = {
    "says nothing": (b"", b"", HEAD_SECONDS),
    "never ends its line": (b"GET /he", b"a", HEAD_SECONDS),
    "never ends its head": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n", HEAD_SECONDS),
    "never ends its body": (POST + b"Content-Length: 900000\r\n\r\n{", b" ", REQUEST_SECONDS),
    "never begins its body": (POST + b"Content-Length: 900000\r\n\r\n", b"", REQUEST_SECONDS),
    "never ends its chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
        REQUEST_SECONDS,
    ),
    "never ends a chunk's size": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"0",
        REQUEST_SECONDS,
    ),
    "never ends its next request": (
        SMUGGLED + b"GET /healthz HTTP/1.1\r\n",
        b"X: y\r\n",
        HEAD_SECONDS,
    ),
}


def test_client_that_takes_its_time_is_cut_off(proxied: Server) -> None:
    def wait(name: str) -> float:
        first, drip, _ = SLOW[name]
        with closing(dial(proxied)) as connection:
            return seconds_until_hung_up(connection, first, drip)

    with ThreadPoolExecutor(len(SLOW)) as pool:  # all at once, because each takes seconds
        waited = dict(zip(SLOW, pool.map(wait, SLOW), strict=True))

    assert all(waited[name] < seconds + 5 for name, (_, _, seconds) in SLOW.items()), waited


def test_client_that_reads_nothing_is_cut_off(proxied: Server) -> None:
    ann, bob = make_person(proxied.url), make_person(proxied.url)
    room = ann.open_room(bob)
    for _ in range(120):  # far more than the kernel keeps for a reader with a small buffer
        ann.post(messages_path(room), {"content": "😀" * 10_000})
    sent = request(
        "GET", f"{messages_path(room)}?limit=1000", "Host: x", f"Authorization: Bearer {ann.access}"
    )

    with closing(dial(proxied)) as connection:
        connection.sendall(sent)
        deadline = time.monotonic() + REQUEST_SECONDS + 5
        while is_connected(proxied, connection) and time.monotonic() < deadline:
            time.sleep(0.1)

        assert not is_connected(proxied, connection)


def is_connected(server: Server, connection: object) -> bool:
    """Tell whether the server's end of a connection is still written to (state 01, proc(5))."""
    port = connection.getsockname()[1]  # type: ignore[attr-defined]
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        for line in table:
            _, here, there, state, *_ = line.split()
            if here.endswith(f":{server.port:04X}") and there.endswith(f":{port:04X}"):
                return state == "01"
    return False


def test_others_are_served_while_slow_clients_wait(proxied: Server) -> None:
    ann: Person = make_person(proxied.url)
    slow = [dial(proxied) for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(POST + b"Content-Length: 900000\r\n\r\n{")
        began = time.monotonic()

        for _ in range(10):
            assert ann.get("/profiles/api/profile/").status_code == 200

        assert time.monotonic() - began < 5
    finally:
        for connection in slow:
            connection.close()
