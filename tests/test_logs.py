"""The log: one event is one line, for machines or for people, and no secret stands in it."""

import json
import logging
import os
import pty
import re
import secrets
import select
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

import logs
from tests import processes
from tests.factories import PASSWORD, Person, make_person
from tests.servers import ROOT, Server
from tests.talk import chat_path, close_code, hear, join, messages_path, open_socket, send_text

SECONDS = 10
SECRET_TEXT = "nobody's business"


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose whole log is ours."""
    with Server(tmp_path_factory.mktemp("logs")) as server:
        yield server


@pytest.fixture(scope="module")
def ann(own_server: Server) -> Person:
    return make_person(own_server.url)


@pytest.fixture(scope="module")
def room(own_server: Server, ann: Person) -> dict[str, Any]:
    return ann.open_room(make_person(own_server.url))


@pytest.fixture
def configured() -> Iterator[Callable[..., logs.Handler]]:
    """`logs.configure`, undone afterwards."""
    loggers = [logging.getLogger(name) for name in (None, "app", "gunicorn.error")]
    levels, handlers = [each.level for each in loggers], list(loggers[0].handlers)
    yield logs.configure
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def lines(server: Server) -> list[dict[str, Any]]:
    """Return the whole log, each line of which has to be a JSON object."""
    whole = server.log.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.split("\n")]


def wait_for_line(server: Server, **wanted: Any) -> dict[str, Any]:
    """Return the one line that says all this."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = [line for line in lines(server) if line.items() >= wanted.items()]
        if found:
            (line,) = found
            return line
        time.sleep(0.02)
    raise AssertionError(f"{wanted} is not in the log:\n{server.log.read_text()[-2000:]}")


def test_request_is_one_line_with_all_that_is_known_of_it(
    own_server: Server, ann: Person, room: dict[str, Any]
) -> None:
    request_id = secrets.token_hex(8)
    route = "/messenger/api/chatrooms/<room_name>/messages/"

    ann.get(messages_path(room), params={"limit": 1}, headers={"X-Request-ID": request_id})

    line = wait_for_line(own_server, request_id=request_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("milliseconds") > 0
    assert line.pop("pid") != os.getpid()
    assert line == {
        "level": "INFO",
        "logger": "app.http.middleware",
        "message": f"GET {route} 200",
        "request_id": request_id,
        "user_id": ann.id,
        "method": "GET",
        "path": route,  # as the room's name is made of two people's
        "route": route,
        "status": 200,
    }


def test_path_that_leads_nowhere_has_no_route_and_stays_on_its_line(own_server: Server) -> None:
    request_id = secrets.token_hex(8)

    httpx.get(f"{own_server.url}/no%0Awhere", headers={"X-Request-ID": request_id})

    line = wait_for_line(own_server, request_id=request_id)
    assert line["path"] == "/no\nwhere"
    assert "route" not in line


def test_life_of_a_socket_has_lines_that_name_its_handshake(
    own_server: Server, ann: Person, room: dict[str, Any]
) -> None:
    request_id = secrets.token_hex(8)
    url = own_server.url + chat_path(room["name"], token=ann.access)

    with open_socket(url, {"X-Request-ID": request_id}) as chat:
        send_text(chat, "Hello!")
        hear(chat)
        handshake = wait_for_line(own_server, request_id=request_id, status=101)
        opened = wait_for_line(own_server, request_id=request_id, message="socket open")
        chat.close(4000)

    life = wait_for_line(own_server, request_id=request_id, message="socket closed")
    assert handshake["status"] == 101
    assert handshake["user_id"] == opened["user_id"] == life["user_id"] == ann.id
    assert opened["room_id"] == room["id"]
    assert handshake["route"] == "/messenger/ws/ws/chat/<room_name>/"
    assert life["code"] == 4000
    assert life["room_id"] == room["id"]
    assert life["seconds"] > 0


def test_socket_that_is_refused_has_both_lines_too(
    own_server: Server, ann: Person, room: dict[str, Any]
) -> None:
    request_id = secrets.token_hex(8)
    url = own_server.url + chat_path(room["name"], token="none")

    with open_socket(url, {"X-Request-ID": request_id}) as chat:
        assert close_code(chat) == 4401

    life = wait_for_line(own_server, request_id=request_id, message="socket closed")
    handshake = wait_for_line(own_server, request_id=request_id, status=101)
    assert life["code"] == 4401
    assert "user_id" not in life
    assert "user_id" not in handshake


def test_defect_is_one_line_with_its_traceback_and_without_what_people_wrote(
    own_server: Server, ann: Person
) -> None:
    request_id = secrets.token_hex(8)
    with sqlite3.connect(own_server.folder / "beseda.db") as database:
        database.execute("ALTER TABLE posts RENAME TO posts_elsewhere")

    try:
        answer = ann.post(
            "/profiles/api/posts/",
            {"title": "x", "content": SECRET_TEXT},
            headers={"X-Request-ID": request_id},
        )
    finally:
        with sqlite3.connect(own_server.folder / "beseda.db") as database:
            database.execute("ALTER TABLE posts_elsewhere RENAME TO posts")
        database.close()

    assert answer.status_code == 500
    line = wait_for_line(own_server, request_id=request_id, level="ERROR")
    first, *_, last = line["traceback"].split("\n")
    assert first == "Traceback (most recent call last):"
    assert "no such table: posts" in line["traceback"]
    assert last
    assert SECRET_TEXT not in own_server.log.read_text()


@pytest.mark.parametrize(
    "raw",
    [
        "GET /?token={} oops HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nAuthorization Bearer {}\r\n\r\n",
        "GET / HTTP/1.1\r\nAuthorization: Bearer {}\0\r\n\r\n",
        "TOKEN={} / HTTP/1.1\r\n\r\n",
        "GET / {}\r\n\r\n",
    ],
)
def test_what_gunicorn_refuses_is_logged_without_what_was_sent(
    own_server: Server, raw: str
) -> None:
    token = secrets.token_hex(20)
    before = len(lines(own_server))

    with socket.create_connection(("127.0.0.1", own_server.port), SECONDS) as client:
        client.sendall(raw.format(token).encode())
        answer = client.recv(4096)

    refusals = [each for each in lines(own_server)[before:] if each["logger"] == "gunicorn.error"]
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert refusals[0]["message"].startswith("Invalid request from ip=127.0.0.1: Invalid")
    assert token not in own_server.log.read_text()


def test_no_query_no_token_no_password_and_no_cookie_is_in_it(
    own_server: Server, ann: Person, room: dict[str, Any]
) -> None:
    marker = secrets.token_hex(8)
    refreshed = ann.post("/accounts/api/token/refresh/", {"refresh": ann.refresh})
    cookie = refreshed.cookies["beseda_access"]
    with (
        join(ann, room, token=ann.access, marker=marker),
        open_socket(
            own_server.url + chat_path(room["name"]),
            {"Cookie": f"beseda_access={cookie}", "Origin": own_server.url},
        ),
        open_socket(
            own_server.url + chat_path(room["name"]), subprotocols=["bearer", ann.access]
        ) as last,
    ):
        last.send(b"binary")
        with pytest.raises(ConnectionClosed):
            last.recv(SECONDS)
    ann.get("/messenger/api/chatrooms/", params={"marker": marker})
    httpx.get(own_server.url + chat_path(room["name"], token=ann.access))

    wait_for_line(own_server, message="socket closed", code=1003)
    log = own_server.log.read_text()
    for secret in (ann.access, ann.refresh, cookie):
        assert secret.rpartition(".")[2] not in log
    assert marker not in log
    assert PASSWORD not in log


def test_gunicorn_writes_the_same_lines(own_server: Server) -> None:
    wait_for_line(own_server, logger="gunicorn.error", message="Using worker: BoundedWorker")


def test_on_a_terminal_it_is_text(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.migrate()
    terminal, end = pty.openpty()
    process = processes.start(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=ROOT,
        env=server.env,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    try:
        server.process = process
        server.log.touch()
        server.wait_ready()
        httpx.get(f"{server.url}/a%0Ab%1B[31m?secret")
        shown = ""
        while " 404" not in shown:
            assert select.select([terminal], [], [], SECONDS)[0], shown
            shown += os.read(terminal, 65536).decode()
    finally:
        process.terminate()
        process.wait(SECONDS)
        os.close(terminal)

    at = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(rf"^{at} INFO gunicorn.error: Starting gunicorn", shown, re.M)
    assert re.search(
        rf"^{at} INFO app.http.middleware: GET /a\\x0ab\\x1b\[31m 404 request_id=\w+ milliseconds=[\d.]+\r$",
        shown,
        re.M,
    )


@pytest.mark.parametrize("form", ["json", "text"])
def test_form_can_be_set(form: str, configured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configured("INFO", form)

    logging.getLogger("app.somewhere").info("said", extra={"room_id": 7})

    said = capsys.readouterr().out
    if form == "json":
        assert json.loads(said).items() >= {"message": "said", "room_id": 7}.items()
    else:
        assert said.endswith(" INFO app.somewhere: said room_id=7\n")


def test_libraries_log_warnings_and_errors_only(
    configured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configured("DEBUG", "json")

    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("library").log(level, logging.getLevelName(level))

    assert json.loads(capsys.readouterr().out)["message"] == "WARNING"


def test_query_of_a_request_that_failed_under_gunicorn_is_left_out(
    configured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configured("INFO", "json")

    logging.getLogger("gunicorn.error").error("Error handling request %s %s", "GET", "/a/?token=b")

    assert json.loads(capsys.readouterr().out)["message"] == "Error handling request GET /a/"


def test_what_orjson_cannot_write_is_written_all_the_same(
    configured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configured("INFO", "json")

    logging.getLogger("app").info("half a letter: \ud800", extra={"room_id": 2**70})

    said = json.loads(capsys.readouterr().out)
    assert said["message"] == "half a letter: \ud800"
    assert said["room_id"] == 2**70


def test_end_of_a_thread_is_one_line(
    configured: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = configured("INFO", "json")
    monkeypatch.setattr(threading, "excepthook", logs.log_defect_of_thread)

    def fail() -> None:
        raise LookupError("lost")

    thread = threading.Thread(target=fail, name="writer")
    thread.start()
    thread.join()

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "defect ended the thread writer"
    assert json.loads(line)["traceback"].endswith("LookupError: lost")
    assert handler.errors == 1


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("control", ["\x9b", "\x7f", "\u2028", "\u202e", "\u2066"])
def test_no_control_reaches_a_terminal(
    capsys: pytest.CaptureFixture[str], form: str, control: str
) -> None:
    log = logging.getLogger("app.http.middleware")
    handler = logs.configure("INFO", form)
    try:
        log.info("GET %s 404", f"/{control}31mEVIL")
    finally:
        logging.getLogger().removeHandler(handler)

    line = capsys.readouterr().out
    assert "31mEVIL" in line
    assert control not in line
