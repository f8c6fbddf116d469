"""The export: all that is somebody's and nothing of others, in pieces, and cut where it fails."""

import json
import socket
import sqlite3
import time
import tracemalloc
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import TypeAdapter
from sqlalchemy import Engine, insert

from app.database.pool import pool_of
from app.database.transactions import writing
from app.media.store import FolderStore
from app.messenger.models import Message
from app.privacy import export as export_module
from app.privacy.export import PAGE_ROWS, ExportTooSlowError, export
from app.privacy.routes import STALLED_SECONDS
from app.privacy.schemas import ExportOut
from app.services import services
from tests.factories import Person, log_in, make_person
from tests.messenger.rows import RoomRow, make_room
from tests.problems import check_problem
from tests.servers import Server
from tests.shapes import check_shape
from tests.talk import messages_path
from tests.test_races import picture

EXPORT = "/accounts/api/users/me/export/"
NOW = datetime(2024, 12, 12, 10, tzinfo=UTC)
TIME = "2024-12-12T10:00:00Z"


@pytest.fixture
def engine(app: Flask) -> Engine:
    return services(app).engine


def exported(person: Person) -> dict[str, Any]:
    answer = person.get(EXPORT)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_everything_that_is_somebodys_is_in_it(server: Server) -> None:
    ann, bob, eve = (make_person(server.url) for _ in range(3))
    log_in(ann, "a phone")
    ann.http.patch("/profiles/api/profile/", json={"bio": "Привет, это я."})
    ann.http.patch("/profiles/api/profile/", files={"image": ("me.png", picture(9))})
    post = ann.post("/profiles/api/posts/", {"title": "Пост", "content": "Текст"}).json()
    ann.post("/profiles/api/add-friend/", {"username": bob.username})
    eve.post("/profiles/api/add-friend/", {"username": ann.username})
    rooms = [ann.open_room(bob), eve.open_room(ann)]
    said = [
        ann.post(messages_path(room), {"content": f"№ {number}"} | more).json()
        for number, room in enumerate(rooms)
        for more in ({"client_id": f"c{number}"}, {})
    ]

    answer = ann.get(EXPORT)
    found = answer.json()

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="beseda-{ann.id}.json"'
    assert answer.headers["Cache-Control"] == "no-store"
    account = {"id": ann.id, "username": ann.username, "email": ann.email, "is_admin": False}
    check_shape(found["account"], account | {"created_at": TIME})
    assert {**found["account"], **account} == found["account"]
    shown = ann.get("/profiles/api/profile/").json()["profile"]
    assert found["profile"]["bio"] == shown["bio"] == "Привет, это я."
    assert found["profile"]["friends"] == [{"id": bob.id, "username": bob.username}]
    image = found["profile"]["image"]
    assert image["content_type"] == "image/jpeg"
    assert b64decode(image["base64"]) == ann.get(shown["image"]).content
    assert [each["client"] for each in found["sessions"]] == ["tests", "a phone"]
    session = {"id": 1, "created_at": TIME, "last_used_at": TIME, "expires_at": TIME}
    session |= {"revoked_at": None, "address": "127.0.0.1", "client": "tests"}
    check_shape(found["sessions"], [session])
    assert found["posts"] == [post | {"client_id": None}]
    listed = ann.get("/messenger/api/chatrooms/").json()
    check_shape(found["rooms"], [listed[0] | {"created_at": TIME}])
    assert [{**room, **known} for room, known in zip(found["rooms"], listed, strict=True)] == (
        found["rooms"]
    )
    assert found["messages"] == [
        {
            "id": message["id"],
            "room": room["name"],
            "content": message["content"],
            "timestamp": message["timestamp"],
            "client_id": message.get("client_id"),
            "reply_to": None,
            "edited_at": None,
        }
        for message, room in zip(said, [room for room in rooms for _ in "12"], strict=True)
    ]


def test_nothing_of_others_is_in_it(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)
    bob.post(messages_path(room), {"content": "Bob's secret"})
    bob.post("/profiles/api/posts/", {"title": "Bob's", "content": "Bob's post"})
    bob.post("/profiles/api/add-friend/", {"username": ann.username})
    bob.http.patch("/profiles/api/profile/", json={"bio": "Bob's bio"})

    text = ann.get(EXPORT).text

    assert "Bob's" not in text
    assert bob.email not in text
    assert "argon2" not in text
    assert json.loads(text)["profile"]["friends"] == []


def test_document_is_what_its_schema_says(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    empty = exported(ann)
    ann.post("/profiles/api/posts/", {"title": "Пост", "content": "Текст"})
    ann.post("/profiles/api/add-friend/", {"username": bob.username})
    ann.post(messages_path(ann.open_room(bob)), {"content": "Hello!"})

    for found in (empty, exported(ann)):
        TypeAdapter(ExportOut).validate_python(found)
        assert list(found) == list(ExportOut.__annotations__)
    assert [empty[name] for name in ("posts", "blocks", "rooms", "memberships", "messages")] == [
        []
    ] * 5
    assert empty["profile"] == {"bio": "", "image": None, "friends": []}


def test_strangers_get_none(client: FlaskClient) -> None:
    check_problem(client.get(EXPORT), 401, "not_authenticated")
    check_problem(client.post(EXPORT), 405)


# In pieces


@pytest.fixture
def pieces_of(app: Flask, engine: Engine, tmp_path: Path) -> Any:
    return lambda user_id: export(engine, FolderStore(tmp_path), user_id)


def say_much(engine: Engine, room: RoomRow, rows: int) -> None:
    """Fill a room: two lines in three are the first one's."""
    with writing(engine) as connection:
        for first in range(0, rows, 500):
            connection.execute(
                insert(Message).values(
                    [
                        {
                            "room_id": room.id,
                            "user_id": room.user_ids[number % 3 == 2],
                            "content": "x" * 50,
                            "timestamp": NOW,
                        }
                        for number in range(first, min(first + 500, rows))
                    ]
                )
            )


def read(pieces: Iterator[bytes]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(b"".join(pieces))
    return found


@pytest.mark.parametrize("rows", [0, 3, PAGE_ROWS, PAGE_ROWS + 1, 1000])
def test_no_message_is_lost_between_pages(engine: Engine, pieces_of: Any, rows: int) -> None:
    room, other = make_room(engine), make_room(engine)
    say_much(engine, other, 10)
    say_much(engine, room, rows)

    found = read(pieces_of(room.user_ids[0]))["messages"]

    ids = [message["id"] for message in found]
    assert ids == sorted(set(ids))
    assert len(ids) == rows - (rows // 3)


@pytest.mark.slow
@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_many_messages_need_no_more_memory_than_a_page_of_them(
    engine: Engine, pieces_of: Any
) -> None:
    room = make_room(engine)
    say_much(engine, room, 30_000)

    tracemalloc.start()
    try:
        largest = max(len(piece) for piece in pieces_of(room.user_ids[0]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert largest < 30_000
    assert peak < 1024 * 1024  # of 3 MB


def test_no_connection_is_held_while_its_reader_takes_a_piece(
    engine: Engine, pieces_of: Any
) -> None:
    room = make_room(engine)
    say_much(engine, room, 3 * PAGE_ROWS)

    for _ in pieces_of(room.user_ids[0]):
        assert pool_of(engine).lent == 0


def test_document_of_a_reader_who_is_too_slow_ends_in_the_middle(
    engine: Engine, pieces_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = make_room(engine)
    pieces = pieces_of(room.user_ids[0])
    begun = next(pieces)
    monkeypatch.setattr(export_module, "monotonic", lambda: time.monotonic() + 601)

    with pytest.raises(ExportTooSlowError):
        next(pieces)

    with pytest.raises(json.JSONDecodeError):
        json.loads(begun)


def test_reader_who_takes_nothing_is_disconnected(client: FlaskClient, app: Flask) -> None:
    token = sign_up_in_process(client)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        answer = client.get(
            EXPORT,
            headers={"Authorization": f"Bearer {token}"},
            environ_overrides={"gunicorn.socket": ours},
        )
        during = ours.gettimeout()
        answer.close()
        after = ours.gettimeout()

    assert (during, after) == (STALLED_SECONDS, None)


def sign_up_in_process(client: FlaskClient) -> str:
    body = {"username": "ann", "password": "correct horse battery"}
    client.post("/accounts/api/users/", json=body | {"email": "ann@example.com"})
    token: str = client.post("/accounts/api/token/", json=body).json["access"]  # type: ignore[index]
    return token


def test_what_fails_at_once_is_an_error_like_any_other(
    client: FlaskClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sign_up_in_process(client)
    with writing(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE friendships RENAME TO gone")
    try:
        answer = client.get(EXPORT, headers={"Authorization": f"Bearer {token}"})
    finally:
        with writing(engine) as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO friendships")

    check_problem(answer, 500)


@pytest.mark.server
def test_error_in_the_middle_cannot_be_taken_for_the_end(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)
        ann.post(messages_path(room), {"content": "x"})
        with closing(sqlite3.connect(tmp_path / "beseda.db", isolation_level=None)) as file:
            file.execute(  # more than fits into the sockets' buffers
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
                " INSERT INTO messages (room_id, user_id, content, timestamp)"
                " SELECT room_id, user_id, hex(zeroblob(5000)), timestamp FROM messages, n"
            )
            with ann.http.stream("GET", EXPORT) as answer:
                raw = answer.iter_raw()
                received = [next(raw)]
                file.execute("ALTER TABLE messages RENAME TO gone")
                with pytest.raises(httpx.RemoteProtocolError):
                    received.extend(raw)

        assert answer.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(b"".join(received))
