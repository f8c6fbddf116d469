"""The look through all logs after the tests finds what it looks for.

The look itself is the fixture `no_secret_is_logged` of tests/conftest.py.
"""

from secrets import token_hex

import httpx
import pytest

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.leaks import leaks_in, leaks_of, remember
from tests.servers import STARTED, Server
from tests.talk import chat_path, open_socket


@pytest.fixture(scope="module")
def ann(server: Server) -> Person:
    return make_person(server.url)


def test_every_secret_would_be_found_in_a_log(server: Server, ann: Person) -> None:
    login = httpx.post(
        f"{server.url}/accounts/api/token/", json={"username": ann.username, "password": PASSWORD}
    )
    secrets = [
        ann.access,
        ann.refresh,
        ann.access.rpartition(".")[0],
        PASSWORD,
        server.env["JWT_SECRET_KEY"],
        login.headers["Set-Cookie"],
        f"Authorization: Bearer {ann.access}",
        f"GET /messenger/ws/ws/chat/x/?token={ann.access}",
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        remember(token_hex(16)),
    ]

    for secret in secrets:
        assert list(leaks_in(f"INFO before {secret} after")), secret
    assert not list(leaks_in("INFO app.http.middleware: GET /profiles/api/profile/ 200 user_id=1"))


def test_logs_of_all_servers_are_looked_through(server: Server) -> None:
    assert server.log in STARTED


def test_no_place_where_a_secret_may_stand_is_logged(server: Server, ann: Person) -> None:
    room = ann.open_room(make_person(server.url))["name"]
    bad = {"username": new_name(), "password": PASSWORD, "email": PASSWORD, "refresh": ann.refresh}
    with httpx.Client(base_url=server.url) as http:
        for path in ("users/", "token/", "token/refresh/", "token/verify/", "password/"):
            http.post(f"/accounts/api/{path}", json=bad)
            http.post(f"/accounts/api/{path}", data=bad)
            http.post(f"/accounts/api/{path}?token={ann.access}&password={PASSWORD}", json=bad)
        http.get("/nowhere", headers={"Authorization": f"Bearer {ann.access}x"})
        http.get("/nowhere", headers={"Cookie": f"beseda_access={ann.access}"})
    for url, options in (
        (chat_path(room, token=ann.access), {}),
        (chat_path(room), {"headers": ann.bearer}),
        (chat_path(room), {"subprotocols": ["bearer", ann.access]}),
        (chat_path(room), {"headers": {"Cookie": f"beseda_access={ann.access}"}}),
    ):
        with open_socket(server.url + url, **options):
            pass

    assert leaks_of(server.log) == []
