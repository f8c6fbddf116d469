"""`make demo`: something to look at, the same for everybody."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.cli import demo
from app.http.pagination import ITEMS_MAX
from tests.servers import ROOT

SCRIPT = json.loads(Path(demo.__file__).with_name("demo.json").read_text())


def test_people_of_the_demo_have_said_what_they_say(app: Flask, client: FlaskClient) -> None:
    done = app.test_cli_runner().invoke(args=["demo"])

    assert done.exit_code == 0, done.output
    for person in SCRIPT["people"]:
        name = person["username"]
        assert f"  {name}" in done.output
        tokens = client.post(
            "/accounts/api/token/", json={"username": name, "password": demo.PASSWORD}
        )
        assert tokens.status_code == 200
        bearer = {"Authorization": f"Bearer {tokens.json['access']}"}
        profile = client.get("/profiles/api/profile/", headers=bearer).json
        assert len(profile["profile"]["friends"]) == len(person["friends"])
        assert client.get(profile["profile"]["image"], buffered=True).status_code == 200
        assert [post["title"] for post in profile["posts"]] == [
            title for _, author, title, _ in SCRIPT["posts"] if author == name
        ]
        chats = client.get("/messenger/api/chats/", headers=bearer).json
        rooms = [room for room in SCRIPT["rooms"] if name in room["members"]]
        assert {title_of(chat): chat["unread"] for chat in chats} == {
            title_of(room, name): room.get("unread", {}).get(name, 0) for room in rooms
        }
        for chat in chats:
            url = f"/messenger/api/chatrooms/{chat['name']}/messages/?limit={ITEMS_MAX}"
            messages = client.get(url, headers=bearer).json
            (room,) = [each for each in rooms if title_of(each, name) == title_of(chat)]
            assert [[each["user"], each["content"]] for each in messages] == said_in(room)
            times = [each["timestamp"] for each in messages]
            assert times == sorted(times)
    assert re.search(
        rf"http://127\.0\.0\.1:\d+/ and log in as anna with the password {demo.PASSWORD}$",
        done.output.strip(),
    )


def title_of(room: dict[str, Any], name: str = "") -> str:
    """Return what somebody's list calls a room, of the script or of the API."""
    other = [each for each in room["members"] if each != name]
    title: str = room.get("display_name") or room.get("title") or other[0]
    return title


def said_in(room: dict[str, Any]) -> list[list[str]]:
    """Return who said what in a room of the script, as it is in the end."""
    ends = [(line, line[3] if line[3:] else {}) for line in room["messages"]]
    return [[line[1], end.get("edit", line[2])] for line, end in ends if "delete" not in end]


def test_it_looks_like_a_team_of_some_days() -> None:
    rooms = SCRIPT["rooms"]
    lines = [line for room in rooms for line in room["messages"]]
    fates = [fate for line in lines for fate in line[3:]]

    for letters in ("[а-яё]", "[a-z]"):
        assert sum(bool(re.search(letters, line[2])) for line in lines) > 10
    assert {"reply", "edit", "delete"} == {word for fate in fates for word in fate}
    assert sum("title" in room for room in rooms) >= 3
    assert sum("anna" in room.get("unread", {}) for room in rooms) >= 3
    assert len({line[0].partition("d ")[0] for line in lines if "d " in line[0]}) >= 4


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_demo_joins_nobody_who_is_there_already(app: Flask, client: FlaskClient) -> None:
    body = {"username": "anna", "email": "a@example.com", "password": demo.PASSWORD}
    client.post("/accounts/api/users/", json=body)

    done = app.test_cli_runner().invoke(args=["demo"])

    assert done.exit_code == 1
    assert "this one has 1 users" in done.output
    assert demo.BESIDE in done.output
    assert demo.BESIDE in (ROOT / "README.md").read_text()
    assert client.get("/profiles/api/posts/", headers=log_in(client)).json == []


def log_in(client: FlaskClient) -> dict[str, str]:
    body = {"username": "anna", "password": demo.PASSWORD}
    access = client.post("/accounts/api/token/", json=body).json["access"]
    return {"Authorization": f"Bearer {access}"}
