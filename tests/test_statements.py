"""How many statements a request takes: as many as its route says, however many rows there are."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from app.services import services
from tests.factories import PASSWORD

USERS = "/accounts/api/users/"
TOKEN = "/accounts/api/token/"
POSTS = "/profiles/api/posts/"
ROOMS = "/messenger/api/chatrooms/"
MESSAGES = f"{ROOMS}user0_user1/messages/"

# The first is always the caller's own row, with the session.
STATEMENTS = {
    USERS: 2,
    f"{USERS}me/": 1,
    "/accounts/api/sessions/": 2,
    "/profiles/api/profile/": 2,
    "/profiles/api/search-user/?username=user0": 3,  # and who it is
    POSTS: 2,
    f"{POSTS}?after=1": 3,  # is there anything older?
    f"{POSTS}?before=3": 3,
    ROOMS: 2,
    "/messenger/api/user/chatrooms/": 2,
    MESSAGES: 2,
    f"{MESSAGES}?before=1": 4,  # is there anything newer, and the seat in the room
}


@pytest.fixture
def said(app: Flask) -> Iterator[list[str]]:
    """What the database is told."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(services(app).engine, "before_cursor_execute", note)
    yield statements
    event.remove(services(app).engine, "before_cursor_execute", note)


def make_people(client: FlaskClient, numbers: range) -> dict[str, str]:
    """Register people who are friends and talk to the first one; return that one's bearer."""
    bearer = {}
    for number in numbers:
        person = {"username": f"user{number}", "password": PASSWORD}
        client.post(USERS, json=person | {"email": f"user{number}@example.com"})
        own = {"Authorization": f"Bearer {client.post(TOKEN, json=person).json['access']}"}
        client.post(POSTS, json={"title": "a", "content": "b"}, headers=own)
        if number:
            client.post("/profiles/api/add-friend/", json={"username": "user0"}, headers=own)
            room = client.post(ROOMS, json={"recipient": "user0"}, headers=own).json["name"]
            for text in ("a", "b", "c"):
                client.post(f"{ROOMS}{room}/messages/", json={"content": text}, headers=own)
        bearer = bearer or own
    return bearer


def test_requests_take_as_many_statements_however_many_rows_there_are(
    client: FlaskClient, said: list[str]
) -> None:
    bearer = make_people(client, range(4))
    counts = []
    for more in (range(4, 4), range(4, 10)):
        make_people(client, more)
        counts.append({})
        for path in STATEMENTS:
            said.clear()
            answer = client.get(path, headers=bearer)
            assert answer.status_code == 200, (path, answer.text)
            counts[-1][path] = len(said)

    assert counts == [STATEMENTS, STATEMENTS], said
