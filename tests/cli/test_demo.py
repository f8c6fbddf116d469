"""`make demo`: something to look at, the same for everybody."""

import json
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.cli import demo
from app.http.pagination import MOST_ITEMS
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
            title for author, title, _ in SCRIPT["posts"] if author == name
        ]
        rooms = client.get("/messenger/api/user/chatrooms/", headers=bearer).json
        said = {}
        for room in rooms:
            url = f"/messenger/api/chatrooms/{room['name']}/messages/?limit={MOST_ITEMS}"
            messages = client.get(url, headers=bearer).json
            said[room["display_name"]] = [[each["user"], each["content"]] for each in messages]
        assert said == {
            other if one == name else one: lines
            for one, other, lines in SCRIPT["chats"]
            if name in (one, other)
        }


def test_both_languages_are_spoken() -> None:
    lines = [line for *_, chat in SCRIPT["chats"] for _, line in chat]

    for letters in ("[а-яё]", "[a-z]"):
        assert sum(bool(re.search(letters, line)) for line in lines) > 10


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_demo_joins_nobody_who_is_there_already(app: Flask, client: FlaskClient) -> None:
    body = {"username": "anna", "email": "a@example.com", "password": demo.PASSWORD}
    client.post("/accounts/api/users/", json=body)

    done = app.test_cli_runner().invoke(args=["demo"])

    assert done.exit_code == 1
    assert "1 users already" in done.output
    assert demo.BESIDE in done.output
    assert demo.BESIDE in (ROOT / "README.md").read_text()
    assert client.get("/profiles/api/posts/", headers=log_in(client)).json == []


def log_in(client: FlaskClient) -> dict[str, str]:
    body = {"username": "anna", "password": demo.PASSWORD}
    access = client.post("/accounts/api/token/", json=body).json["access"]
    return {"Authorization": f"Bearer {access}"}
