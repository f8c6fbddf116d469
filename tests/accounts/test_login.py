"""Logging in: by name or address, whatever the keyboard makes of a letter, from few places."""

import unicodedata

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from app.accounts import passwords
from app.accounts.models import User
from app.accounts.sessions import SESSIONS_MAX
from app.database.transactions import reading, writing
from tests.apps import make_app
from tests.factories import PASSWORD
from tests.visitors import Visitor, log_in, register

TOKEN = "/accounts/api/token/"
USERS = "/accounts/api/users/"


def status_of(client: FlaskClient, login: str, password: str = PASSWORD) -> int:
    body = {"username": login, "password": password}
    return client.post(TOKEN, json=body).status_code


def test_an_address_logs_in_in_whatever_case(client: FlaskClient) -> None:
    ann = register(client)

    assert status_of(client, ann.email.upper()) == 200
    assert status_of(client, ann.email, "wrong password") == 401
    assert status_of(client, "nobody@example.com") == 401


def test_a_name_counts_before_an_address(client: FlaskClient) -> None:
    named = register(client, username="ann@example.com")
    body = {"username": "ann", "email": "ann@example.com", "password": "another password"}
    assert client.post(USERS, json=body).status_code == 201

    assert status_of(client, "ann@example.com") == 200
    assert status_of(client, "ann@example.com", "another password") == 401
    assert log_in(client, named).get("/accounts/api/users/me/").json["id"] == named.id


def test_nobody_takes_another_persons_address_as_a_name(client: FlaskClient) -> None:
    ann = register(client)
    body = {"username": ann.email.upper(), "email": "eve@example.com", "password": PASSWORD}

    refused = client.post(USERS, json=body)
    own = {"username": "zoe@example.com", "email": "zoe@example.com", "password": PASSWORD}

    assert (refused.status_code, set(refused.json["errors"])) == (400, {"username"})
    assert client.post(USERS, json=own).status_code == 201  # one's own is nobody else's


def test_nor_an_address_that_somebody_gets_while_the_account_is_made(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = register(client)
    wanted = {"username": "new@example.com", "email": "eve@example.com", "password": PASSWORD}
    hash_password = passwords.hash_password

    def meanwhile(password: str) -> str:
        monkeypatch.setattr(passwords, "hash_password", hash_password)
        change = {"email": "new@example.com", "password": PASSWORD}
        assert ann.patch("/accounts/api/users/me/", change).status_code == 200
        return hash_password(password)

    monkeypatch.setattr(passwords, "hash_password", meanwhile)
    refused = app.test_client().post(USERS, json=wanted)

    assert (refused.status_code, set(refused.json["errors"])) == (400, {"username"})
    assert status_of(client, "new@example.com") == 200
    assert status_of(client, "eve@example.com") == 401


def test_an_address_is_no_way_to_further_guesses(tmp_path: object) -> None:
    app = make_app(tmp_path, RATELIMIT_ENABLED="true", RATELIMIT_LOGIN_ACCOUNT="3/hour")  # type: ignore[arg-type]
    client = app.test_client()
    body = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
    client.post(USERS, json=body)

    logins = ["ann", "ann@example.com", "ANN", "ann@example.com", "ann"]
    codes = [status_of(client, login, "wrong password") for login in logins]

    assert codes == [401, 401, 401, 429, 429]


@pytest.mark.parametrize("letters", ["пароль йогурт ёж", "café au lait ä"])
@pytest.mark.parametrize("set_as", ["NFC", "NFD"])
@pytest.mark.parametrize("typed_as", ["NFC", "NFD"])
def test_password_is_the_same_however_its_letters_are_composed(
    client: FlaskClient, letters: str, set_as: str, typed_as: str
) -> None:
    body = {
        "username": "ann",
        "email": "ann@example.com",
        "password": unicodedata.normalize(set_as, letters),
    }
    assert client.post(USERS, json=body).status_code == 201

    assert status_of(client, "ann", unicodedata.normalize(typed_as, letters)) == 200


@pytest.mark.parametrize("typed_as", ["NFC", "NFD"])
def test_hash_of_a_decomposed_password_is_replaced_at_the_next_login(
    app: Flask, client: FlaskClient, typed_as: str
) -> None:
    ann = register(client)
    old = passwords._hasher.hash(unicodedata.normalize("NFD", "ёжик в тумане"))
    with app.app_context(), writing() as connection:
        connection.execute(update(User).where(User.id == ann.id).values(password_hash=old))

    typed = unicodedata.normalize(typed_as, "ёжик в тумане")
    assert status_of(client, ann.username, typed) == 200

    with app.app_context(), reading() as connection:
        stored = connection.scalar(select(User.password_hash).where(User.id == ann.id))
    assert stored != old
    passwords._hasher.verify(stored, unicodedata.normalize("NFC", "ёжик в тумане"))


def test_long_password_of_marks_is_refused_without_being_normalised(client: FlaskClient) -> None:
    ann = register(client)

    # Bringing these marks into order would take minutes.
    assert status_of(client, ann.username, "a" + "\u0301\u0316" * 200_000) == 401


@pytest.mark.parametrize(
    "email", ["ann@firma.local", "ann@nas.lan", "ann@host.test", "ann@x.home.arpa"]
)
def test_private_domains_are_addresses(client: FlaskClient, email: str) -> None:
    body = {"username": "ann", "email": email, "password": PASSWORD}

    assert client.post(USERS, json=body).status_code == 201
    assert status_of(client, email) == 200


@pytest.mark.parametrize("email", ["ann@firma", "ann@localhost", "ann@[127.0.0.1]", "ann@.local"])
def test_what_is_most_likely_a_typing_error_is_no_address(client: FlaskClient, email: str) -> None:
    answer = client.post(USERS, json={"username": "ann", "email": email, "password": PASSWORD})

    assert set(answer.json["errors"]) == {"email"}


def test_beyond_a_hundred_sessions_the_oldest_ends(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SESSIONS_MAX == 100
    monkeypatch.setattr("app.accounts.sessions.SESSIONS_MAX", 3)
    bob, ann = register(client), register(client)

    others = [log_in(client, ann) for _ in range(3)]

    def is_in(visitor: Visitor) -> bool:
        return visitor.get("/accounts/api/users/me/").status_code == 200

    assert [is_in(each) for each in (bob, ann, *others)] == [True, False, True, True, True]
    assert len(others[-1].get("/accounts/api/sessions/").json) == 3


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_name_of_the_scheme_is_taken_in_any_case(client: FlaskClient, scheme: str) -> None:
    ann = register(client)

    answer = client.get(
        "/profiles/api/profile/", headers={"Authorization": f"{scheme} {ann.access}"}
    )

    assert answer.status_code == 200
