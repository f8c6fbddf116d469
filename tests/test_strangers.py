"""Other people's rooms look like no rooms at all, and without a good token nothing is to be seen."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import jwt
import pytest
from flask import Flask
from websockets.exceptions import ConnectionClosed

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.problems import check_problem
from tests.servers import ROOT, Server
from tests.talk import SECONDS, chat_path, hear, join, messages_path, open_socket

NO_ROOM = "nobody.at.all_nobody.else"


class Place(NamedTuple):
    """Ann and Bob have a room; Eve has none with them."""

    server: Server
    ann: Person
    bob: Person
    eve: Person
    room: dict[str, Any]


@pytest.fixture(scope="module")
def place(server: Server) -> Place:
    ann, bob, eve = (make_person(server.url) for _ in range(3))
    room = ann.open_room(bob)
    ann.post(messages_path(room), {"content": "for Bob", "client_id": "known"})
    return Place(server, ann, bob, eve, room)


@pytest.fixture(scope="module")
def admin(server: Server) -> Person:
    person = make_person(server.url)
    done = make_admin(server, person.username)
    assert done.returncode == 0, done.stderr
    return person


def make_admin(server: Server, username: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "users", "make-admin", username],
        cwd=ROOT,
        env=server.env,
        capture_output=True,
        text=True,
        check=False,
    )


def seen(answer: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """Return all that can be seen of an answer but what differs with each."""
    changing = {"date", "x-request-id"}
    headers = {key: value for key, value in answer.headers.items() if key not in changing}
    return answer.status_code, answer.text, headers


def goodbye(person: Person, room_name: str, query: str = "") -> tuple[int, str]:
    """Return with which code and reason somebody's socket is closed that says nothing."""
    url = f"{person.url}{chat_path(room_name)}{query}"
    with open_socket(url, person.bearer) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(SECONDS)
    assert closed.value.rcvd
    return closed.value.rcvd.code, closed.value.rcvd.reason


# Rooms

ASKING: dict[str, Callable[[Person, str], httpx.Response]] = {
    "reading": lambda eve, path: eve.get(path),
    "reading without a slash": lambda eve, path: eve.get(path.rstrip("/")),
    "reading from a cursor on": lambda eve, path: eve.get(f"{path}?after=0&limit=1"),
    "reading with a wrong limit": lambda eve, path: eve.get(f"{path}?limit=x"),
    "posting": lambda eve, path: eve.post(path, {"content": "x"}),
    "posting a form": lambda eve, path: eve.http.post(path, data={"content": "x"}),
    "posting nothing": lambda eve, path: eve.post(path, {}),
    "posting no JSON": lambda eve, path: eve.http.post(
        path, content="{", headers={"Content-Type": "application/json"}
    ),
    "posting a known client_id": lambda eve, path: eve.post(
        path, {"content": "x", "client_id": "known"}
    ),
    "posting a known key": lambda eve, path: eve.post(
        path, {"content": "x"}, headers={"Idempotency-Key": "known"}
    ),
    "deleting": lambda eve, path: eve.http.delete(path),
    "asking for the head": lambda eve, path: eve.http.head(path),
    "asking for options": lambda eve, path: eve.http.options(path),
}


@pytest.mark.parametrize("asking", ASKING)
def test_other_peoples_room_looks_like_one_that_does_not_exist(place: Place, asking: str) -> None:
    theirs = ASKING[asking](place.eve, messages_path(place.room))
    nobodys = ASKING[asking](place.eve, messages_path({"name": NO_ROOM}))

    assert seen(theirs) == seen(nobodys)


@pytest.mark.parametrize("asking", ["reading", "posting", "posting a known client_id"])
def test_other_peoples_room_is_not_found(place: Place, asking: str) -> None:
    answer = ASKING[asking](place.eve, messages_path(place.room))

    check_problem(answer, 404, "room_not_found")


def test_what_a_stranger_posts_is_not_stored(place: Place) -> None:
    place.eve.post(messages_path(place.room), {"content": "let me in"})

    said = place.ann.get(messages_path(place.room)).json()
    assert [message["content"] for message in said] == ["for Bob"]


@pytest.mark.parametrize("query", ["", "?after=0", "?after=999999999", "?after=x"])
def test_a_strangers_socket_closes_as_for_a_room_that_does_not_exist(
    place: Place, query: str
) -> None:
    theirs = goodbye(place.eve, place.room["name"], query)
    nobodys = goodbye(place.eve, NO_ROOM, query)

    assert theirs == nobodys
    assert theirs[0] == (4400 if query == "?after=x" else 4404)


def test_a_socket_without_a_token_tells_no_room_from_another(place: Place) -> None:
    nobody = replace(place.eve, access="")

    assert goodbye(nobody, place.room["name"]) == goodbye(nobody, NO_ROOM)


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda name: f"{name}~2", lambda name: f"{name} ", lambda name: name[:-1]],
)
def test_a_room_has_one_name_and_no_other(place: Place, change: Callable[[str], str]) -> None:
    check_problem(
        place.ann.get(messages_path({"name": change(place.room["name"])})), 404, "room_not_found"
    )


def test_the_id_of_a_room_is_not_its_name(place: Place) -> None:
    check_problem(
        place.ann.get(messages_path({"name": str(place.room["id"])})), 404, "room_not_found"
    )


@pytest.mark.parametrize("path", ["/messenger/api/chatrooms/", "/messenger/api/user/chatrooms/"])
@pytest.mark.parametrize("query", ["", "?after=0", "?before=9223372036854775807", "?limit=1000"])
def test_lists_show_only_own_rooms(place: Place, path: str, query: str) -> None:
    own = place.eve.open_room(make_person(place.server.url))

    rooms = place.eve.get(path + query).json()

    assert own in rooms
    assert all(place.eve.id in room["members"] for room in rooms)


# Administrators


def test_an_administrator_sees_all_rooms_by_their_names(place: Place, admin: Person) -> None:
    own = admin.open_room(place.eve)

    rooms = {room["id"]: room for room in admin.get("/messenger/api/chatrooms/").json()}

    assert rooms[place.room["id"]] == place.room | {"display_name": place.room["name"]}
    assert rooms[own["id"]] == own
    assert own["display_name"] == place.eve.username


def test_an_administrators_own_list_shows_only_own_rooms(place: Place, admin: Person) -> None:
    own = admin.open_room(place.bob)

    rooms = admin.get("/messenger/api/user/chatrooms/").json()

    assert own in rooms
    assert all(admin.id in room["members"] for room in rooms)


@pytest.mark.parametrize("asking", ["reading", "posting"])
def test_an_administrator_reads_and_writes_nothing_in_other_peoples_rooms(
    place: Place, admin: Person, asking: str
) -> None:
    theirs = ASKING[asking](admin, messages_path(place.room))
    nobodys = ASKING[asking](admin, messages_path({"name": NO_ROOM}))

    check_problem(theirs, 404, "room_not_found")
    assert seen(theirs) == seen(nobodys)


def test_an_administrators_socket_is_a_strangers(place: Place, admin: Person) -> None:
    assert goodbye(admin, place.room["name"]) == goodbye(place.eve, NO_ROOM)


def test_nobody_becomes_an_administrator_by_a_name_that_nobody_has(server: Server) -> None:
    done = make_admin(server, "nobody.at.all")

    assert done.returncode != 0
    assert "nobody.at.all" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_becomes_an_administrator_through_the_api(place: Place) -> None:
    claims = {"is_admin": True, "is_staff": True, "is_superuser": True, "id": 1, "is_active": True}
    body = {"username": new_name(), "email": f"{new_name()}@example.com", "password": PASSWORD}
    assert (
        httpx.post(f"{place.server.url}/accounts/api/users/", json=body | claims).status_code == 201
    )
    login = httpx.post(f"{place.server.url}/accounts/api/token/", json=body | claims).json()

    bearer = {"Authorization": f"Bearer {login['access']}"}
    rooms = httpx.get(f"{place.server.url}/messenger/api/chatrooms/", headers=bearer).json()

    assert rooms == []


# Routes and tokens

PUBLIC = {
    ("POST", "/accounts/api/users/"),
    ("POST", "/accounts/api/token/"),
    ("POST", "/accounts/api/token/refresh/"),
    ("POST", "/accounts/api/password/reset/"),
    ("POST", "/accounts/api/password/reset/confirm/"),
    # The code stands in the body.
    ("POST", "/accounts/api/setup/"),
    # SimpleJWT's: the token stands in the body.
    ("POST", "/accounts/api/token/verify/"),
    ("POST", "/accounts/api/token/blacklist/"),
}
PUBLIC_BLUEPRINTS = {"health", "media", "docs", "service", "web"}
# They ask for a token as well, but only of a WebSocket, and say so with a close code: see below
# for the chat, and messenger/test_stream.py.
CHAT = "/messenger/ws/ws/chat/<room_name>/"
SOCKETS = {CHAT, "/messenger/ws/events/"}


def private_rules(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield method and rule of every route that a token is needed for."""
    for rule in app.url_map.iter_rules():
        if rule.rule in SOCKETS or rule.endpoint.partition(".")[0] in PUBLIC_BLUEPRINTS:
            continue
        for method in (rule.methods or set()) - {"OPTIONS"}:
            if (method, rule.rule) not in PUBLIC:
                yield method, rule.rule


def private_routes(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield method and a path of every route that a token is needed for."""
    for method, rule in private_rules(app):
        yield method, re.sub(r"<[^<>]+>", "1", rule)


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "not_authenticated"),
        ({"Authorization": "Bearer x.y.z"}, "token_not_valid"),
        ({"Cookie": "beseda_access=x.y.z"}, "not_authenticated"),
    ],
    ids=["no token", "a bad token", "a cookie"],
)
def test_every_route_but_the_public_ones_needs_a_token(
    app: Flask, headers: dict[str, str], code: str
) -> None:
    routes = set(private_routes(app))
    assert ("GET", "/accounts/api/users/") in routes  # the walk finds something, and by method

    for method, path in routes:
        answer = app.test_client().open(path, method=method, headers=headers)

        assert answer.status_code == 401, f"{method} {path}"
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        if method != "HEAD":
            check_problem(answer, 401, code)


class Door(NamedTuple):
    """Somewhere a token is looked at.

    Attributes:
        token_type: Of the tokens that open it.
        knock: Tells whether a token opened it, and checks how it was refused if not.
    """

    token_type: str
    knock: Callable[[Place, str], bool]


def _api(place: Place, token: str) -> bool:
    answer = httpx.get(
        f"{place.server.url}/profiles/api/profile/", headers={"Authorization": f"Bearer {token}"}
    )
    return _opened(answer)


def _refresh(place: Place, token: str) -> bool:
    answer = httpx.post(f"{place.server.url}/accounts/api/token/refresh/", json={"refresh": token})
    return _opened(answer)


def _opened(answer: httpx.Response) -> bool:
    if answer.status_code == 200:
        return True
    check_problem(answer, 401, "token_not_valid")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    return False


def _chat(place: Place, token: str) -> bool:
    with join(replace(place.ann, access=token), place.room) as socket:
        try:
            socket.send("{}")  # is refused, and only an open socket says so
            return bool(hear(socket)["error"]["code"] == "invalid")
        except ConnectionClosed as closed:
            code = closed.rcvd and closed.rcvd.code
    assert code == 4401
    return False


DOORS = {
    "the API": Door("access", _api),
    "the refreshing": Door("refresh", _refresh),
    "the chat": Door("access", _chat),
}


def forged(place: Place, token_type: str, **changes: Any) -> str:
    """Return a token like Ann's with some claims changed (or, with None, left out)."""
    key = changes.pop("key", place.server.env["JWT_SECRET_KEY"])
    algorithm = changes.pop("algorithm", "HS256")
    token = {"access": place.ann.access, "refresh": place.ann.refresh}[token_type]
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm)


def in_the_past(**ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(**ago)


def _with_other_payload(token: str) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    other = json.dumps(claims | {"sub": "1", "user_id": 1}).encode()
    return f"{header}.{base64.urlsafe_b64encode(other).decode().rstrip('=')}.{signature}"


BAD_TOKENS: dict[str, Callable[[Place, str], str]] = {
    "another key": lambda place, kind: forged(
        place, kind, key="another secret, as long as ours is"
    ),
    "no key": lambda place, kind: forged(place, kind, key=None, algorithm="none"),
    "another algorithm": lambda place, kind: forged(place, kind, algorithm="HS512"),
    "expired": lambda place, kind: forged(place, kind, exp=in_the_past(seconds=5)),
    "not yet good": lambda place, kind: forged(place, kind, nbf=in_the_past(hours=-1)),
    "no signature": lambda place, kind: forged(place, kind).rpartition(".")[0] + ".",
    "half a signature": lambda place, kind: forged(place, kind)[:-10],
    "another payload": lambda place, kind: _with_other_payload(forged(place, kind)),
    "of nobody": lambda place, kind: forged(place, kind, sub="987654321", user_id=987654321),
    # Signed with our key, as by a former server of the customer, and yet not one of ours.
    "without a subject": lambda place, kind: forged(place, kind, sub=None),
    "of no number": lambda place, kind: forged(place, kind, sub="ann"),
    "of a number beyond all ids": lambda place, kind: forged(place, kind, sub="9" * 30),
    "without any claim": lambda place, kind: jwt.encode({}, place.server.env["JWT_SECRET_KEY"]),
    "garbage": lambda place, kind: "garbage",
    "three parts of garbage": lambda place, kind: "a.b.c",
    "dots": lambda place, kind: "..",
    "many dots": lambda place, kind: "." * 1000,
    "no ASCII": lambda place, kind: "a\u00ff.b.c" if kind == "refresh" else "a%ff.b.c",
    "eight kilobytes": lambda place, kind: "x" * 8000,
    "eight kilobytes in three parts": lambda place, kind: ".".join(["eyJ" + "x" * 2600] * 3),
}


@pytest.mark.parametrize("door", DOORS)
def test_good_token_is_accepted_where_it_belongs(place: Place, door: str) -> None:
    assert DOORS[door].knock(place, forged(place, DOORS[door].token_type))


@pytest.mark.parametrize("door", DOORS)
def test_a_token_of_the_other_type_opens_nothing(place: Place, door: str) -> None:
    other = {"access": place.ann.refresh, "refresh": place.ann.access}[DOORS[door].token_type]

    assert not DOORS[door].knock(place, other)


@pytest.mark.filterwarnings(
    "ignore:The HMAC key"
)  # is too short for HS512, which is no matter here
@pytest.mark.parametrize("bad", BAD_TOKENS)
@pytest.mark.parametrize("door", DOORS)
def test_a_bad_token_opens_nothing(place: Place, door: str, bad: str) -> None:
    token = BAD_TOKENS[bad](place, DOORS[door].token_type)

    assert not DOORS[door].knock(place, token)


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer", "Basic YTpi", "Token {token}", "{token}", "Bearer{token}"),
        *("Bearer {token} {token}", "Bearer {token}, Bearer {token}", "Basic {token}"),
        'Bearer "{token}"',
    ],
)
def test_a_token_in_a_header_of_another_form_opens_nothing(place: Place, header: str) -> None:
    answer = httpx.get(
        f"{place.server.url}/profiles/api/profile/",
        headers={"Authorization": header.format(token=place.ann.access)},
    )

    check_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_api_takes_a_token_from_its_header_only(place: Place) -> None:
    answer = httpx.get(
        f"{place.server.url}/profiles/api/profile/?token={place.ann.access}&jwt={place.ann.access}",
        headers={
            "Cookie": f"beseda_access={place.ann.access}; access_token_cookie={place.ann.access}"
        },
    )

    check_problem(answer, 401, "not_authenticated")


def test_where_no_token_is_needed_a_stale_one_does_no_harm(place: Place) -> None:
    stale = {"Authorization": f"Bearer {forged(place, 'access', exp=in_the_past(hours=1))}"}
    body = {"username": new_name(), "email": f"{new_name()}@example.com", "password": PASSWORD}
    with httpx.Client(base_url=place.server.url, headers=stale) as http:
        created = http.post("/accounts/api/users/", json=body)
        logged_in = http.post("/accounts/api/token/", json=body)
        refreshed = http.post("/accounts/api/token/refresh/", json=logged_in.json())
        image = http.get(place.ann.get("/profiles/api/profile/").json()["profile"]["image"])
        alive = http.get("/healthz")

    assert [each.status_code for each in (created, logged_in, refreshed, image, alive)] == [
        *(201, 200, 200, 200, 200)
    ]
