"""People and rooms for tests, made through the API as anybody would."""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from app.clock import utcnow

PASSWORD = "correct horse battery"
_count = itertools.count(1)
_clients: list[httpx.Client] = []


def new_name(stem: str = "user") -> str:
    """Return a user name that no other test has."""
    return f"{stem}.{next(_count)}.{secrets.token_hex(3)}"


def user_row(name: str) -> dict[str, Any]:
    """Return the columns of a user who cannot log in, for tests that write into the table."""
    email = f"{name}@example.com"
    return {
        "username": name,
        "username_key": name,
        "email": email,
        "email_key": email,
        "password_hash": "none",
        "created_at": utcnow(),
    }


@dataclass
class Person:
    """Somebody who is logged in to a running server."""

    url: str
    username: str
    id: int
    access: str
    refresh: str
    email: str
    http: httpx.Client = field(repr=False)

    @property
    def bearer(self) -> dict[str, str]:
        """The header that says who it is."""
        return {"Authorization": f"Bearer {self.access}"}

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(path, json=body, **options)

    def open_room(self, other: "Person") -> dict[str, Any]:
        """Return the room with somebody."""
        answer = self.post("/messenger/api/chatrooms/", {"recipient": other.username})
        assert answer.status_code in (200, 201), answer.text
        room: dict[str, Any] = answer.json()
        return room


def make_person(
    url: str,
    username: str | None = None,
    headers: Mapping[str, str] | None = None,
    path: str = "/accounts/api/users/",
    **more: str,
) -> Person:
    """Register somebody with a running server and log in.

    Args:
        url: Of the server.
        username: A new one, if it is not given.
        headers: Of all their requests.
        path: What makes an account.
        more: What it needs besides, such as an invitation.
    """
    username = username or new_name()
    email = f"{secrets.token_hex(6)}@example.com"
    http = _client(url, headers)
    created = http.post(
        path, json={"username": username, "email": email, "password": PASSWORD, **more}
    )
    assert created.status_code == 201, created.text
    return log_in(Person(url, username, created.json()["id"], "", "", email, http), headers=headers)


def log_in(
    person: Person, client: str = "tests", headers: Mapping[str, str] | None = None
) -> Person:
    """Return somebody logged in once more, in a session of its own.

    Args:
        person: Who.
        client: What they call their program.
        headers: More headers of all their requests.
    """
    http = _client(person.url, {"User-Agent": client, **(headers or {})})
    tokens = http.post(
        "/accounts/api/token/", json={"username": person.username, "password": PASSWORD}
    ).json()
    http.headers["Authorization"] = f"Bearer {tokens['access']}"
    return replace(person, http=http, **tokens)


def _client(url: str, headers: Mapping[str, str] | None = None) -> httpx.Client:
    # Idle connections are left before the server leaves them (after 2 s): what is sent in that
    # moment is lost. No TLS here: loading it takes 0.1 s.
    http = httpx.Client(
        base_url=url,
        headers=headers,
        timeout=30,
        limits=httpx.Limits(keepalive_expiry=1),
        verify=False,
    )
    _clients.append(http)
    return http


def close_clients() -> None:
    """Hang up for everybody, when all tests are over."""
    for http in _clients:
        http.close()
