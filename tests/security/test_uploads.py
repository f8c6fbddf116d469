"""Uploads and downloads below the level of a library: bodies without an end, clients with no hurry."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.delivery.machines import children
from tests.factories import Person, make_person
from tests.security.conftest import UPLOAD_SECONDS
from tests.security.raw import dial, memory_of, parse, read_all, seconds_until_hung_up
from tests.servers import Server
from tests.talk import SECONDS

PATH = "/messenger/api/uploads/"
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
MEGABYTE = 1024 * 1024


def head(who: Person | None, *headers: str, path: str = PATH) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers]
    if who:
        lines.append(f"Authorization: Bearer {who.access}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def stored(server: Server) -> list[Path]:
    """Return the files in the server's folder, whole or not."""
    return [path for path in Path(server.env["MEDIA_ROOT"]).rglob("*") if path.is_file()]


def rows(server: Server, who: Person) -> int:
    """Return how many uploads of somebody are noted, whole or not."""
    with closing(sqlite3.connect(server.folder / "beseda.db")) as database:
        query = "SELECT count(*) FROM uploads WHERE user_id = ?"
        return int(database.execute(query, [who.id]).fetchone()[0])


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def eve(server: Server) -> Person:
    return make_person(server.url)


# A length that is too large

HUGE = 4 * 1024**3
TYPES = {
    "a form": FORM,
    "a form of another kind": "application/x-www-form-urlencoded",
    "JSON": "application/json",
    "a film": "video/mp4",
    "no type": None,
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("sent", [0, MEGABYTE], ids=["nothing", "a megabyte"])
def test_body_of_four_gigabytes_is_refused_before_it_is_read(
    server: Server, eve: Person, kind: str, sent: int
) -> None:
    before = stored(server)
    headers = [f"Content-Length: {HUGE}"]
    if TYPES[kind]:
        headers.append(f"Content-Type: {TYPES[kind]}")
    with closing(dial(server)) as connection:
        connection.sendall(head(eve, *headers) + (PART + b"x" * sent if sent else b""))

        received = b""
        # Nothing is reset: what was sent meanwhile costs nobody the response.
        while piece := connection.recv(65536):
            received += piece

    answer = parse(received)
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert json.loads(answer.body)["code"] == "too_large"
    assert rows(server, eve) == 0
    assert stored(server) == before


def test_stranger_is_refused_before_the_body_is_read(server: Server) -> None:
    before = stored(server)
    with closing(dial(server)) as connection:
        connection.sendall(head(None, f"Content-Type: {FORM}", "Content-Length: 20000000") + PART)
        answer = parse(read_all(connection))
    assert answer.status == 401
    assert answer.headers["connection"] == "close"
    assert stored(server) == before


def test_body_that_is_longer_than_it_says_is_refused_where_it_is_too_large(
    server: Server, eve: Person
) -> None:
    before = stored(server)
    with closing(dial(server)) as connection:
        connection.sendall(head(eve, f"Content-Type: {FORM}", "Transfer-Encoding: chunked"))
        connection.sendall(b"%x\r\n" % len(PART) + PART + b"\r\n")
        received = b""
        connection.settimeout(0.001)
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        for _ in range(30 * 16):  # 30 MB; 25 are taken
            try:
                connection.settimeout(SECONDS)
                connection.sendall(chunk)
            except OSError:
                break
        connection.settimeout(SECONDS)
        received = read_all(connection)
    # Who goes on writing may find the line dead before it reads why.
    assert not received or parse(received).status == 413
    wait_until(lambda: rows(server, eve) == 0)
    assert stored(server) == before


# Clients with no hurry

UNENDING = {
    "drips a file": (f"Content-Length: {20 * MEGABYTE}", PART, b"x"),
    "drips chunks": ("Transfer-Encoding: chunked", b"%x\r\n" % len(PART) + PART, b"\r\n1\r\nx"),
    "drips the head of a part": (f"Content-Length: {20 * MEGABYTE}", b"--b\r\nX: ", b"x"),
    "drips what is before the form": (f"Content-Length: {20 * MEGABYTE}", b"", b"x"),
    "sends a megabyte and stops": (
        f"Content-Length: {20 * MEGABYTE}",
        PART + b"x" * MEGABYTE,
        b"",
    ),
}


def test_uploads_that_do_not_end_are_cut_off_and_leave_nothing(proxied: Server) -> None:
    eve = make_person(proxied.url)
    before = stored(proxied)

    def wait(name: str) -> float:
        length, first, drip = UNENDING[name]
        begin = head(eve, f"Content-Type: {FORM}", length) + first
        with closing(dial(proxied)) as connection:
            return seconds_until_hung_up(connection, begin, drip)

    with ThreadPoolExecutor(len(UNENDING)) as pool:  # all at once, because each takes seconds
        waits = pool.map(wait, UNENDING)
        wait_until(lambda: rows(proxied, eve) == len(UNENDING))
        assert stored(proxied) != before
        waited = dict(zip(UNENDING, waits, strict=True))

    # Not before an honest slow client would be done, and not much later.
    assert all(UPLOAD_SECONDS - 1 < each < UPLOAD_SECONDS + 5 for each in waited.values()), waited
    wait_until(lambda: rows(proxied, eve) == 0)
    assert stored(proxied) == before


def test_others_send_files_while_slow_uploads_hold_all_their_places(proxied: Server) -> None:
    eve, ann = make_person(proxied.url), make_person(proxied.url)
    begin = head(eve, f"Content-Type: {FORM}", f"Content-Length: {MEGABYTE}") + PART
    slow = [dial(proxied) for _ in range(120)]
    try:
        for connection in slow:
            connection.sendall(begin)
        # One person has so many places, and the others of these are refused.
        wait_until(lambda: rows(proxied, eve) == 100)
        answer = ann.http.post(PATH, files={"file": b"text"})
        assert answer.status_code == 201, answer.text
        assert rows(proxied, eve) <= 100
    finally:
        for connection in slow:
            connection.close()
    wait_until(lambda: rows(proxied, eve) == 0)  # and all places are free again
    assert eve.http.post(PATH, files={"file": b"text"}).status_code == 201


def opened_files(server: Server) -> Iterator[str]:
    """Yield the files of messages that the worker has open."""
    assert server.process
    (worker,) = children(server.process.pid)
    for each in Path(f"/proc/{worker}/fd").iterdir():
        try:
            target = str(each.readlink())
        except FileNotFoundError:
            continue
        if target.startswith(f"{server.env['MEDIA_ROOT']}/files"):
            yield target


def test_reader_who_reads_nothing_of_a_file_is_cut_off(proxied: Server) -> None:
    ann = make_person(proxied.url)
    upload = ann.http.post(PATH, files={"file": b"x" * 20 * MEGABYTE})
    assert upload.status_code == 201
    line = head(ann, path=upload.json()["url"]).replace(b"POST", b"GET", 1)

    connections = [dial(proxied) for _ in range(10)]
    try:
        for connection in connections:
            connection.sendall(line)
        wait_until(lambda: len(list(opened_files(proxied))) == 10)
        wait_until(lambda: not list(opened_files(proxied)))  # also the file is closed
    finally:
        for connection in connections:
            connection.close()


def test_pictures_that_do_not_end_wait_on_the_disk(server: Server, eve: Person) -> None:
    begin = head(
        eve, f"Content-Type: {FORM}", "Content-Length: 6000000", path="/profiles/api/profile/"
    )
    begin = begin.replace(b"POST", b"PATCH", 1) + PART.replace(b'"file"', b'"image"')
    before = memory_of(server)

    connections = [dial(server) for _ in range(20)]
    for connection in connections:
        connection.sendall(begin + b"x" * 5_000_000)
    # They have been read: there is no room for so much on the way.
    after = memory_of(server)
    for connection in connections:
        connection.close()

    assert after - before < 40 * MEGABYTE
