"""Tokens that somebody has made up: nothing but what we have issued, and not revoked, opens a door.

More bad tokens, at the same doors, are in tests/test_strangers.py; how sessions end is in
tests/accounts/test_sessions.py.
"""

import base64
import hmac
import json
import socket
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from flask import Flask
from flask_migrate import upgrade

from app import create_app
from tests.conftest import make_config, sqlite_url
from tests.factories import PASSWORD, log_in, make_person
from tests.problems import check_problem
from tests.servers import Server
from tests.test_strangers import DOORS, Place, forged

HEADER = {"alg": "HS256", "typ": "JWT"}


@pytest.fixture(scope="module")
def place(server: Server) -> Place:
    ann, bob, eve = (make_person(server.url) for _ in range(3))
    return Place(server, ann, bob, eve, ann.open_room(bob))


def key_of(place: Place) -> bytes:
    return place.server.env["JWT_SECRET_KEY"].encode()


def claims_of(place: Place, token_type: str) -> dict[str, Any]:
    token = {"access": place.ann.access, "refresh": place.ann.refresh}[token_type]
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def signed(header: bytes, payload: bytes, key: bytes, digest: str = "sha256") -> str:
    """Sign whatever it is, as no library would."""
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    mark = base64.urlsafe_b64encode(hmac.digest(key, text, digest)).rstrip(b"=")
    return (text + b"." + mark).decode()


def with_claims(place: Place, door: str, **changes: Any) -> str:
    """Return a token like Ann's, signed with our key, with some claims changed or (...) missing."""
    claims = claims_of(place, DOORS[door].token_type) | changes
    claims = {name: value for name, value in claims.items() if value is not ...}
    return signed(json.dumps(HEADER).encode(), json.dumps(claims).encode(), key_of(place))


# Who has our key has lost us everything; but another program that was given the same one, or the
# server that stood here before, must not open anything by accident, or break anything.
STRANGE_CLAIMS: dict[str, dict[str, Any]] = {
    "no subject": {"sub": ...},
    "a subject of another type": {"sub": 1},
    "a subject in a list": {"sub": ["1"]},
    "a subject in other digits": {"sub": "١"},
    "a subject with a zero before it": {"sub": "0001"},
    "no user": {"user_id": ...},
    "another user than the subject": {"user_id": 1, "sub": "2"},
    "a user in a text": {"user_id": "1"},
    "a user in a list": {"user_id": [1]},
    "a user of null": {"user_id": None},
    "a user of true": {"user_id": True, "sub": "1"},
    "a fraction of a user": {"user_id": 1.0, "sub": "1.0"},
    "no session": {"sid": ...},
    "a session of null": {"sid": None},
    "a session in a text": {"sid": "1"},
    "a session in a list": {"sid": [1]},
    "a session of true": {"sid": True},
    "a session of nobody": {"sid": 987_654_321},
    "a session below all": {"sid": -1},
    "a session beyond all ids": {"sid": 10**30},
    "no type for our eyes": {"token_type": ...},
    "two types": {"type": "access", "token_type": "refresh"},
    "two types the other way round": {"type": "refresh", "token_type": "access"},
    "an unknown type": {"type": "reset", "token_type": "reset"},
    "a list of types": {"type": ["access"], "token_type": ["access"]},
    "an object of types": {"type": {}, "token_type": {}},
    "no end": {"exp": ...},
    "an end in a text": {"exp": "never"},
    "an end of null": {"exp": None},
    "an end in a list": {"exp": [2**31]},
    "an end of true": {"exp": True},
    "an end beyond all numbers": {"exp": float("inf")},
    "an end that is no number": {"exp": float("nan")},
    "issued in the future": {"iat": time.time() + 3600},
    "issued in a text": {"iat": "yesterday"},
    "good from the future on": {"nbf": time.time() + 3600},
    "good from a list on": {"nbf": []},
    "an audience": {"aud": "another service"},
    "an issuer": {"iss": "https://issuer.example"},
    "an id that is no text": {"jti": 1},
}


@pytest.mark.parametrize("strange", STRANGE_CLAIMS)
@pytest.mark.parametrize("door", DOORS)
def test_token_with_strange_claims_opens_nothing(place: Place, door: str, strange: str) -> None:
    assert not DOORS[door].knock(place, with_claims(place, door, **STRANGE_CLAIMS[strange]))


@pytest.mark.parametrize("door", DOORS)
def test_the_same_token_without_strange_claims_opens_it(place: Place, door: str) -> None:
    assert DOORS[door].knock(place, with_claims(place, door))


STRANGE_PARTS: dict[str, tuple[bytes | None, bytes | None]] = {
    "a header of brackets": (b"[" * 2000, None),
    "a payload of brackets": (None, b"[" * 2000),
    "a header in a list": (b"[]", None),
    "a header that is no UTF-8": (b"\xff", None),
    "a payload in a list": (None, b"[]"),
    "a payload of null": (None, b"null"),
    "a payload in a text": (None, b'"x"'),
    "a payload that is no UTF-8": (None, b'{"sub": "\xff"}'),
    "a payload with half a character": (None, b'{"sub": "\\ud800", "exp": 9999999999}'),
    "a payload with a huge number": (None, b'{"exp": ' + b"9" * 2000 + b"}"),
}


@pytest.mark.parametrize("strange", STRANGE_PARTS)
@pytest.mark.parametrize("door", DOORS)
def test_token_of_strange_parts_opens_nothing(place: Place, door: str, strange: str) -> None:
    header, payload = STRANGE_PARTS[strange]
    good = json.dumps(claims_of(place, DOORS[door].token_type)).encode()

    token = signed(header or json.dumps(HEADER).encode(), payload or good, key_of(place))

    assert not DOORS[door].knock(place, token)


ALGORITHMS = [
    *("none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS384", "HS512"),
    *("RS256", "PS256", "ES256", "EdDSA", "HS256K", None, 1, ["HS256"], {"HS256": 1}),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("door", DOORS)
def test_no_other_algorithm_is_taken_whoever_signs(
    place: Place, door: str, algorithm: object
) -> None:
    # With our own key even: where a public key were ours, it would be the attacker's to use.
    header = json.dumps(HEADER | {"alg": algorithm}).encode()
    payload = json.dumps(claims_of(place, DOORS[door].token_type)).encode()
    digest = {"HS384": "sha384", "HS512": "sha512"}.get(str(algorithm), "sha256")
    whole = signed(header, payload, key_of(place), digest)

    for token in (whole, whole.rpartition(".")[0] + "."):
        assert not DOORS[door].knock(place, token)


@pytest.mark.parametrize("door", DOORS)
def test_key_is_never_the_one_that_a_token_names(place: Place, door: str) -> None:
    payload = json.dumps(claims_of(place, DOORS[door].token_type)).encode()
    own = b"a key of the attacker's own, long enough"
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(own).decode(), "kid": "1", "alg": "HS256"}
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys.json"
        for hint, key in (
            ({"kid": "../../../../../../dev/null"}, b""),
            ({"kid": "/proc/sys/kernel/ostype"}, b"Linux\n"),
            ({"kid": "x' UNION SELECT 'key"}, b"key"),
            ({"kid": ["1"]}, own),
            ({"jku": url}, own),
            ({"x5u": url, "x5t": "x"}, own),
            ({"jwk": jwk}, own),
            ({"x5c": ["MIIB"]}, own),
            ({"kid": "1", "jku": url, "jwk": jwk}, own),
        ):
            token = signed(json.dumps(HEADER | hint).encode(), payload, key)

            assert not DOORS[door].knock(place, token), hint

        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has come to fetch a key
            listener.accept()


@pytest.mark.parametrize("door", DOORS)
def test_session_of_somebody_else_is_no_session(place: Place, door: str) -> None:
    bobs = jwt.decode(place.bob.access, options={"verify_signature": False})["sid"]

    assert not DOORS[door].knock(place, with_claims(place, door, sid=bobs))


@pytest.mark.parametrize("door", DOORS)
def test_deactivated_user_is_unknown_until_activated(place: Place, door: str) -> None:
    token = forged(place, DOORS[door].token_type)

    activate(place, False)
    try:
        assert not DOORS[door].knock(place, token)
        check_problem(log_in_to(place), 401, "no_active_account")
    finally:
        activate(place, True)

    assert DOORS[door].knock(place, token)


def activate(place: Place, active: bool) -> None:
    path = place.server.folder / "beseda.db"
    with closing(sqlite3.connect(path, timeout=10)) as database, database:
        database.execute("UPDATE users SET is_active = ? WHERE id = ?", (active, place.ann.id))


def log_in_to(place: Place) -> httpx.Response:
    body = {"username": place.ann.username, "password": PASSWORD}
    return httpx.post(f"{place.server.url}/accounts/api/token/", json=body)


@pytest.mark.parametrize("door", DOORS)
def test_token_of_a_session_that_was_ended_is_worth_nothing(place: Place, door: str) -> None:
    ann = log_in(place.ann)
    token = {"access": ann.access, "refresh": ann.refresh}[DOORS[door].token_type]
    assert DOORS[door].knock(place, token)

    ann.post("/accounts/api/token/blacklist/", {"refresh": ann.refresh})

    assert not DOORS[door].knock(place, token)
    assert DOORS[door].knock(place, forged(place, DOORS[door].token_type))


def test_no_two_tokens_are_alike(place: Place) -> None:
    ids = set()
    for _ in range(5):
        body = {"refresh": place.ann.refresh}
        answer = httpx.post(f"{place.server.url}/accounts/api/token/refresh/", json=body)
        claims = jwt.decode(answer.json()["access"], options={"verify_signature": False})
        ids.add(claims["jti"])

    assert len(ids) == 5


def test_token_that_was_good_a_moment_ago_expires(tmp_path: Path) -> None:
    app = one_of(tmp_path, JWT_ACCESS_TOKEN_EXPIRES="2")
    token = token_of_somebody(app)
    until = jwt.decode(token, options={"verify_signature": False})["exp"]

    good = statuses(app, token)
    time.sleep(max(0.0, until - time.time()))

    assert (good, statuses(app, token)) == ({200}, {401})


def test_token_that_is_good_here_is_not_good_there(tmp_path: Path) -> None:
    here = one_of(tmp_path)
    there = one_of(tmp_path, JWT_SECRET_KEY="another secret of the tests, not of yours")
    token = token_of_somebody(here)

    assert (statuses(here, token), statuses(there, token)) == ({200}, {401})


def one_of(folder: Path, **settings: str) -> Flask:
    app = create_app(make_config(folder, sqlite_url(folder), **settings))
    with app.app_context():
        upgrade()
    return app


def token_of_somebody(app: Flask) -> str:
    person = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
    client = app.test_client()
    client.post("/accounts/api/users/", json=person)
    token: str = client.post("/accounts/api/token/", json=person).json["access"]
    return token


def statuses(app: Flask, token: str) -> set[int]:
    """Ask twice, the second time for what may be remembered by then."""
    ask = partial(app.test_client().get, "/accounts/api/users/me/")
    return {ask(headers={"Authorization": f"Bearer {token}"}).status_code for _ in range(2)}
