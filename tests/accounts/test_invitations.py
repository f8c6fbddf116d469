"""Who may register: everybody, nobody, or who has an invitation that is good."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from app.accounts import invitations, one_time_tokens, registration
from app.accounts.models import Invitation, User
from app.clock import utcnow
from app.database.transactions import reading
from app.http.errors import ApiError, BadInput
from app.services import services
from tests.apps import set_config
from tests.crowds import CROWD, all_at_once
from tests.factories import PASSWORD, new_name
from tests.problems import check_problem
from tests.rows import stored

USERS = "/accounts/api/users/"


@pytest.fixture
def mode(app: Flask, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """REGISTRATION, as the test's parameter says; by invitation if it has none."""
    mode: str = getattr(request, "param", "invite")
    set_config(app, monkeypatch, REGISTRATION=mode)
    return mode


def person(**fields: object) -> dict[str, object]:
    name = new_name()
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD} | fields


def register(client: FlaskClient, body: dict[str, object]) -> TestResponse:
    return client.post(USERS, json=body)


def invite(app: Flask, lifetime: timedelta = invitations.LIFETIME) -> str:
    with app.app_context():
        return invitations.invite(lifetime).secret


def count(app: Flask, model: type[User | Invitation] = User) -> int:
    with app.app_context(), reading() as connection:
        return connection.execute(select(func.count()).select_from(model)).scalar_one()


def is_valid(app: Flask, code: str) -> bool:
    with app.app_context():
        return invitations.is_valid(code)


def test_where_registration_is_open_nobody_needs_a_code_nor_uses_one_up(
    app: Flask, client: FlaskClient
) -> None:
    code = invite(app)

    for invitation in ({}, {"invitation": None}, {"invitation": ""}, {"invitation": code}):
        assert register(client, person(**invitation)).status_code == 201
    assert is_valid(app, code)


@pytest.mark.parametrize("mode", ["closed"], indirect=True)
def test_where_registration_is_closed_all_get_the_same_refusal(
    app: Flask, client: FlaskClient, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_config(app, monkeypatch, REGISTRATION="open")
    taken = person()
    assert register(client, taken).status_code == 201
    set_config(app, monkeypatch, REGISTRATION=mode)
    bodies = [person(), taken, taken | {"password": "1"}, person(invitation=invite(app)), {}]

    answers = [register(client, body) for body in bodies] + [client.post(USERS, json=[])]

    for answer in answers:
        check_problem(answer, 403, "registration_closed")
    assert len({answer.text for answer in answers}) == 1
    assert count(app) == 1


@pytest.mark.parametrize(
    ("mode", "refusal"),
    [("closed", registration.RegistrationClosed), ("invite", BadInput)],
    indirect=["mode"],
)
def test_use_case_asks_for_itself_whoever_calls_it(
    app: Flask, mode: str, refusal: type[ApiError]
) -> None:
    with app.app_context(), pytest.raises(refusal):
        registration.register("ann", "ann@example.com", PASSWORD)
    assert count(app) == 0


def test_code_lets_one_person_in(app: Flask, client: FlaskClient, mode: str) -> None:
    code = invite(app)

    first = register(client, person(invitation=f" {code}\n"))
    second = register(client, person(invitation=code))

    assert first.status_code == 201
    assert first.json is not None
    assert first.json.keys() == {"id", "username", "email"}
    check_problem(second, 400, "invalid", {"invitation"})
    assert count(app) == 1


def test_code_that_is_not_good_is_refused_whatever_is_wrong_with_it(
    app: Flask, client: FlaskClient, mode: str
) -> None:
    used, expired = invite(app), invite(app, timedelta(0))
    register(client, person(invitation=used))
    codes = ["unknown", one_time_tokens.new(invitations.LIFETIME).secret, used, expired, "я" * 1000]

    answers = [register(client, person(invitation=code)) for code in codes]

    for answer in answers:
        check_problem(answer, 400, "invalid", {"invitation"})
    assert len({answer.text for answer in answers}) == 1
    assert count(app) == 1


@pytest.mark.parametrize("code", [None, "", " ", 5, ["x"], {}])
def test_who_has_no_code_is_told_so_under_its_name(
    client: FlaskClient, mode: str, code: object
) -> None:
    check_problem(register(client, person(invitation=code)), 400, "invalid", {"invitation"})


def test_who_has_no_code_learns_nothing_of_who_is_here(
    app: Flask, client: FlaskClient, mode: str
) -> None:
    taken = person(invitation=invite(app))
    assert register(client, taken).status_code == 201
    username, email = taken["username"], taken["email"]

    for code in ("unknown", None, 5):
        for body, fields in (
            (person(username=username, email=email), set()),
            (person(username=username, email="x"), {"email"}),
            (person(username=username, password="x"), {"password"}),
            ({"username": username}, {"email", "password"}),
        ):
            answer = register(client, body | {"invitation": code})
            check_problem(answer, 400, "invalid", fields | {"invitation"})


def test_who_has_a_code_is_told_of_all_that_is_wrong_and_keeps_it(
    app: Flask, client: FlaskClient, mode: str
) -> None:
    code = invite(app)
    taken = person(invitation=invite(app))
    register(client, taken)

    for body, fields in (
        (taken, {"username", "email"}),
        (taken | {"password": "1"}, {"username", "email", "password"}),
        (person(username="long enough@x.example"), {"username"}),
        (person(username="longenough", password="longenough"), {"password"}),
    ):
        answer = register(client, body | {"invitation": code})
        check_problem(answer, 400, "invalid", fields)
    assert is_valid(app, code)
    assert register(client, person(invitation=code)).status_code == 201


def test_one_of_many_with_the_same_code_gets_in(app: Flask, mode: str) -> None:
    code = invite(app)

    answers = all_at_once(
        [partial(register, app.test_client(), person(invitation=code)) for _ in range(CROWD)]
    )

    assert Counter(answer.status_code for answer in answers) == {201: 1, 400: CROWD - 1}
    for answer in answers:
        if answer.status_code == 400:
            check_problem(answer, 400, "invalid", {"invitation"})
    assert count(app) == 1


def test_who_loses_a_race_for_a_name_keeps_the_code(app: Flask, mode: str) -> None:
    codes = [invite(app) for _ in range(CROWD)]
    name = new_name()

    answers = all_at_once(
        [
            partial(register, app.test_client(), person(username=name, invitation=code))
            for code in codes
        ]
    )

    assert Counter(answer.status_code for answer in answers) == {201: 1, 400: CROWD - 1}
    assert sum(is_valid(app, code) for code in codes) == CROWD - 1


def test_code_is_long_and_kept_nowhere_but_as_its_hash(app: Flask) -> None:
    codes = {invite(app) for _ in range(20)}

    assert len(codes) == 20
    assert all(len(bytes.fromhex(code)) >= 16 for code in codes)
    assert not any(code in stored(app) for code in codes)
    assert all(one_time_tokens.hash_of(code) in stored(app) for code in codes)


def test_code_is_good_for_a_week_unless_it_is_said_otherwise(app: Flask) -> None:
    with app.app_context():
        week, day = invitations.invite(), invitations.invite(timedelta(days=1))

    assert utcnow() + timedelta(days=6, hours=23) < week.expires_at <= utcnow() + timedelta(days=7)
    assert day.expires_at <= utcnow() + timedelta(days=1)


def test_expired_codes_are_deleted_unless_they_were_used(
    app: Flask, client: FlaskClient, mode: str
) -> None:
    used, good = invite(app), invite(app)
    register(client, person(invitation=used))
    invite(app, timedelta(0))
    with services(app).engine.begin() as connection:
        connection.execute(
            update(Invitation)
            .where(Invitation.code_hash == one_time_tokens.hash_of(used))
            .values(expires_at=utcnow() - timedelta(days=1))
        )

    newest = invite(app)

    assert count(app, Invitation) == 3
    assert all(one_time_tokens.hash_of(code) in stored(app) for code in (used, good, newest))
