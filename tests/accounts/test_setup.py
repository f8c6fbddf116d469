"""The first administrator: one link, logged at the start, good once and for one."""

import hmac
import json
import logging
import re
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app import create_app
from app.accounts import operators, setup
from app.accounts.models import User
from app.database.transactions import reading
from app.http.errors import BadInput
from app.services import services
from tests.apps import make_app, make_config
from tests.crowds import all_at_once
from tests.factories import PASSWORD, make_person
from tests.servers import Server
from tests.visitors import register

SETUP = "/accounts/api/setup/"
ADA = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}


def code_of(app: Flask) -> str:
    with app.app_context():
        code = setup.make_code()
    assert code
    return code


def administrators(app: Flask) -> list[str]:
    with app.app_context(), reading() as connection:
        query = select(User.username).where(User.is_admin).order_by(User.id)
        return list(connection.scalars(query))


def test_code_makes_an_administrator_once(app: Flask, client: FlaskClient) -> None:
    code = code_of(app)

    first = client.post(SETUP, json=ADA | {"code": f" {code}\n"})
    second = client.post(SETUP, json=ADA | {"username": "eve", "email": "e@x.org", "code": code})

    assert (first.status_code, first.json) == (
        201,
        {"id": 1, "username": "ada", "email": "ada@example.com"},
    )
    assert (second.status_code, set(second.json["errors"])) == (400, {"code"})
    assert administrators(app) == ["ada"]
    token = client.post("/accounts/api/token/", json={"username": "ada", "password": PASSWORD})
    bearer = {"Authorization": f"Bearer {token.json['access']}"}
    assert client.get("/accounts/api/users/me/", headers=bearer).json["is_admin"] is True
    with app.app_context():
        assert setup.make_code() is None


def test_every_worker_and_every_start_has_the_same_code(app: Flask, tmp_path: Path) -> None:
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    code = code_of(app)

    for key, is_same in (("a secret of the tests, not of yours", True), ("k" * 32, False)):
        other = create_app(make_config(tmp_path, url, JWT_SECRET_KEY=key))
        assert (code_of(other) == code) == is_same
        services(other).engine.dispose()


def test_link_is_logged_until_there_is_an_administrator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(tmp_path, PUBLIC_URL="https://chat.example.com")
    with app.app_context(), caplog.at_level(logging.WARNING):
        setup.announce()
        assert f"https://chat.example.com/setup#{setup.make_code()}" in caplog.text
        caplog.clear()
        register(app.test_client(), username="ann")
        operators.set_admin(1, is_admin=True)
        setup.announce()
    assert "setup" not in caplog.text
    services(app).engine.dispose()


def test_code_dies_with_the_first_administrator_whoever_makes_them(
    app: Flask, client: FlaskClient
) -> None:
    code = code_of(app)
    ann = register(client)
    with app.app_context():
        operators.set_admin(ann.id, is_admin=True)
        operators.set_admin(ann.id, is_admin=False)

    refused = client.post(SETUP, json=ADA | {"code": code})

    assert set(refused.json["errors"]) == {"code"}
    assert code_of(app) != code  # and the next one is another


@pytest.mark.parametrize("code", ["", "x", "0" * 32, "\u0430" * 32, "\0", "\ud800", None, 7, ["a"]])
def test_wrong_code_tells_what_is_wrong_but_not_what_is_taken(
    app: Flask, client: FlaskClient, code: Any
) -> None:
    code_of(app)
    ann = register(client)
    body = {"username": ann.username, "email": "none", "password": PASSWORD, "code": code}

    # Encoded by the standard library, which has an escape for half of a surrogate pair.
    answer = client.post(SETUP, data=json.dumps(body), content_type="application/json")

    assert answer.status_code == 400
    assert set(answer.json["errors"]) == {"code", "email"}
    assert administrators(app) == []


def test_before_any_code_was_made_none_is_right(app: Flask, client: FlaskClient) -> None:
    assert client.post(SETUP, json=ADA | {"code": "0" * 32}).status_code == 400
    assert client.post(SETUP, json=[]).status_code == 400
    assert client.post(SETUP, json={}).status_code == 400


def test_all_that_is_wrong_is_named_at_once(app: Flask, client: FlaskClient) -> None:
    ann = register(client)
    body = {"username": ann.username, "email": ann.email, "password": "short", "code": code_of(app)}

    answer = client.post(SETUP, json=body)

    assert set(answer.json["errors"]) == {"username", "email", "password"}
    assert client.post(SETUP, json=ADA | {"code": code_of(app)}).status_code == 201


def test_one_of_two_at_once_becomes_administrator(app: Flask) -> None:
    code = code_of(app)
    barrier = threading.Barrier(4)
    outcomes: list[Mapping[str, Any] | BadInput] = []

    def attempt(number: int) -> None:
        barrier.wait()
        with app.app_context():
            try:
                done = setup.create_first_administrator(
                    code, f"racer{number}", f"racer{number}@example.com", PASSWORD
                )
            except BadInput as error:
                outcomes.append(error)
            else:
                outcomes.append(done)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (winner,) = [each for each in outcomes if not isinstance(each, BadInput)]
    assert administrators(app) == [winner["username"]]
    assert all(set(each.errors) == {"code"} for each in outcomes if isinstance(each, BadInput))
    with app.app_context(), reading() as connection:
        assert connection.scalars(select(User.username)).all() == [winner["username"]]


def links_in(server: Server) -> list[str]:
    """Return the links that a server has logged."""
    return re.findall(r"http://[^ \"]+/setup#[0-9a-f]{32}", server.log.read_text())


@pytest.mark.server
def test_one_of_many_on_two_machines_becomes_administrator(
    postgresql_url: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": postgresql_url}
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with (
        Server(tmp_path / "here", settings | {"WEB_CONCURRENCY": "2"}) as here,
        Server(tmp_path / "there", settings) as there,
    ):
        codes = {link.partition("#")[2] for link in links_in(here) + links_in(there)}
        (code,) = codes  # all workers log the same one
        assert links_in(here)[0] == f"{here.url}/setup#{code}"

        def attempt(number: int) -> httpx.Response:
            server = (here, there)[number % 2]
            name = f"racer{number}"
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            return httpx.post(server.url + SETUP, json=body | {"code": code}, timeout=30)

        answers = all_at_once([partial(attempt, number) for number in range(6)])

        (winner,) = [each.json() for each in answers if each.status_code == 201]
        refused = [each.json() for each in answers if each.status_code != 201]
        assert all(set(each["errors"]) == {"code"} for each in refused)
        ann = make_person(here.url)
        everybody = ann.get("/accounts/api/users/").json()
        assert [each["username"] for each in everybody] == [winner["username"], ann.username]
        assert attempt(7).status_code == 400
        logged = len(links_in(there))
        there.stop()
        there.start()
        assert len(links_in(there)) == logged  # not any more


def test_code_is_compared_in_constant_time_whether_there_is_one_or_not(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = hmac.compare_digest
    compared: list[tuple[Any, int]] = []

    def noting(one: Any, other: Any) -> bool:
        compared.append((one, len(other)))
        return compare(one, other)

    monkeypatch.setattr(setup.hmac, "compare_digest", noting)
    client.post(SETUP, json=ADA | {"code": "before"})
    code = code_of(app)
    for wrong in (code[:-1], code[:-1] + "x", code + "0"):
        client.post(SETUP, json=ADA | {"code": wrong})

    assert [one for one, _ in compared] == [
        *(b"before", code[:-1].encode(), f"{code[:-1]}x".encode(), f"{code}0".encode())
    ]
    assert {length for _, length in compared} == {len(code)}
