"""People who use the API, in one process, for tests of the messenger's endpoints."""

from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from tests.factories import PASSWORD, new_name

API = "/messenger/api"


@dataclass(frozen=True)
class Caller:
    """Somebody who is logged in."""

    app: Flask
    id: int
    name: str
    bearer: dict[str, str]

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        """Send a request below `/messenger/api`, or to any other path that begins so."""
        path = path if path.startswith(("/profiles", "/accounts")) else API + path
        options.setdefault("headers", {}).update(self.bearer)
        if body is not None:
            options["json"] = body
        return self.app.test_client().open(path, method=method, **options)

    def get(self, path: str, **options: Any) -> Any:
        """Return what there is."""
        response = self.ask("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json

    def do(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Send a request that has to be answered by a status; return the body."""
        response = self.ask(method, path, body)
        assert response.status_code == status, response.text
        return response.json if response.is_json else response.data

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Send a request that has to be refused; return the status and the code."""
        response = self.ask(method, path, body)
        assert response.mimetype == "application/problem+json", response.text
        return response.status_code, response.json["code"]

    def room_with(self, other: "Caller") -> str:
        """Return the path of the room with somebody."""
        room = self.ask("POST", "/chatrooms/", {"recipient": other.name}).json
        return f"/chatrooms/{room['name']}/"

    def group(self, *others: "Caller", **body: Any) -> str:
        """Return the path of a new group."""
        members = [other.name for other in others]
        chat = self.do("POST", "/groups/", {"title": "Team", "members": members} | body, 201)
        return f"/chatrooms/{chat['name']}/"

    def say(self, room: str, content: str, **body: Any) -> dict[str, Any]:
        """Send a message."""
        sent: dict[str, Any] = self.do("POST", f"{room}messages/", {"content": content} | body, 201)
        return sent

    def texts(self, room: str, query: str = "") -> list[str]:
        """Return what stands in a room."""
        return [each.get("content") for each in self.get(f"{room}messages/{query}")]


def sign_up(app: Flask, stem: str = "user") -> Caller:
    """Register somebody and log in."""
    client = app.test_client()
    person = {"username": new_name(stem), "password": PASSWORD}
    email = f"{person['username']}@example.com"
    created = client.post("/accounts/api/users/", json=person | {"email": email})
    assert created.status_code == 201, created.text
    tokens = client.post("/accounts/api/token/", json=person).json
    bearer = {"Authorization": f"Bearer {tokens['access']}"}
    return Caller(app, created.json["id"], person["username"], bearer)
