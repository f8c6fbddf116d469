"""People who use an application in-process, without a server in between."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.factories import PASSWORD

_count = itertools.count(1)


@dataclass
class Visitor:
    """Somebody who is logged in.

    Attributes:
        http: A client of the application, with this person's cookies.
        headers: Headers of all their requests, `Authorization` among them.
    """

    http: FlaskClient
    id: int
    username: str
    email: str
    access: str
    refresh: str
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.http.get(path, headers=self.headers, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.http.post(path, json=json, headers=self.headers, **options)

    def patch(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.http.patch(path, json=json, headers=self.headers, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.http.delete(path, headers=self.headers, **options)

    def open_room(self, other: "Visitor") -> str:
        """Return the name of the room with somebody."""
        answer = self.post("/messenger/api/chatrooms/", {"recipient": other.username})
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json["name"])


def register(client: FlaskClient, stem: str = "user", username: str | None = None) -> Visitor:
    """Register somebody and log in.

    Args:
        client: Of the application.
        stem: What their name begins with.
        username: All of it; None: a new one.
    """
    username = username or f"{stem}{next(_count)}"
    email = f"mail{next(_count)}@example.com"
    account = {"username": username, "email": email, "password": PASSWORD}
    created = client.post("/accounts/api/users/", json=account)
    assert created.status_code == 201, created.text
    return log_in(client, Visitor(client, created.json["id"], username, email, "", ""))


def log_in(client: FlaskClient, visitor: Visitor) -> Visitor:
    """Return somebody logged in once more, in a session of its own."""
    body = {"username": visitor.username, "password": PASSWORD}
    answer = client.post("/accounts/api/token/", json=body)
    assert answer.status_code == 200, answer.text
    access, refresh = answer.json["access"], answer.json["refresh"]
    bearer = {"Authorization": f"Bearer {access}"}
    return Visitor(client, visitor.id, visitor.username, visitor.email, access, refresh, bearer)
