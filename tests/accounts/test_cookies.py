"""The session of a page: a refresh token that no script and no other site can use."""

from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.factories import PASSWORD
from tests.visitors import Visitor, register

TOKEN = "/accounts/api/token/"
OWN = {"Origin": "http://localhost"}  # of the test client
FOREIGN = {"Origin": "https://evil.example"}


@pytest.fixture
def ann(app: Flask) -> Visitor:
    return register(app.test_client(use_cookies=False))


@pytest.fixture
def page(app: Flask) -> FlaskClient:
    """A browser that keeps cookies."""
    return app.test_client()


def log_in(page: FlaskClient, ann: Visitor, headers: Mapping[str, str] = OWN) -> TestResponse:
    body = {"username": ann.username, "password": PASSWORD, "cookie": True}
    return page.post(TOKEN, json=body, headers=headers)


def cookies_of(answer: TestResponse) -> dict[str, str]:
    return {text.partition("=")[0]: text for text in answer.headers.getlist("Set-Cookie")}


def test_refresh_token_is_a_cookie_for_the_token_endpoints_alone(
    page: FlaskClient, ann: Visitor
) -> None:
    answer = log_in(page, ann)

    assert answer.json["refresh"] == ""
    assert answer.json["access"]
    attributes = set(cookies_of(answer)["beseda_refresh"].split("; ")[1:])
    assert {"HttpOnly", "SameSite=Strict", "Path=/accounts/api/token/"} <= attributes
    assert f"Max-Age={30 * 24 * 3600}" in attributes
    assert "Secure" not in attributes


def test_cookies_that_came_by_https_go_by_https_alone(page: FlaskClient, ann: Visitor) -> None:
    body = {"username": ann.username, "password": PASSWORD, "cookie": True}
    own = {"Origin": "https://localhost"}

    answer = page.post(TOKEN, json=body, headers=own, base_url="https://localhost")

    assert len(cookies_of(answer)) == 3
    assert all("; Secure" in each for each in cookies_of(answer).values())


def test_who_does_not_ask_for_it_gets_the_token_itself(page: FlaskClient, ann: Visitor) -> None:
    body = {"username": ann.username, "password": PASSWORD}
    answer = page.post(TOKEN, json=body, headers=OWN)

    assert answer.json["refresh"].count(".") == 2
    assert "beseda_refresh" not in cookies_of(answer)


def test_page_refreshes_without_knowing_the_token(page: FlaskClient, ann: Visitor) -> None:
    log_in(page, ann)

    for body in ({}, {"refresh": ""}):
        answer = page.post(f"{TOKEN}refresh/", json=body, headers=OWN)
        assert answer.status_code == 200
        assert "beseda_access" in cookies_of(answer)  # the chat's is renewed with it
    assert page.post(f"{TOKEN}refresh/", headers=OWN).status_code == 200  # with no body at all


@pytest.mark.parametrize("headers", [FOREIGN, {}, {"Origin": "null"}, {"Origin": ""}])
@pytest.mark.parametrize("path", ["refresh/", "blacklist/"])
def test_cookie_counts_for_a_page_of_our_own_alone(
    page: FlaskClient, ann: Visitor, path: str, headers: dict[str, str]
) -> None:
    log_in(page, ann)

    refused = page.post(f"{TOKEN}{path}", json={}, headers=headers)

    assert (refused.status_code, refused.json["code"]) == (401, "token_not_valid")
    assert page.post(f"{TOKEN}refresh/", json={}, headers=OWN).status_code == 200


@pytest.mark.parametrize("path", ["refresh/", "blacklist/"])
def test_of_two_cookies_none_counts(app: Flask, ann: Visitor, path: str) -> None:
    # A page of a sub-domain may have set the first one, and with it somebody else's session.
    page = app.test_client(use_cookies=False)
    both = {"Cookie": f"beseda_refresh={ann.refresh}; beseda_refresh={ann.refresh}"} | OWN

    refused = page.post(f"{TOKEN}{path}", json={}, headers=both)

    assert (refused.status_code, refused.json["code"]) == (401, "token_not_valid")


def test_a_token_in_the_body_counts_first(page: FlaskClient, ann: Visitor) -> None:
    log_in(page, ann)

    good = page.post(f"{TOKEN}refresh/", json={"refresh": ann.refresh}, headers=FOREIGN)
    bad = page.post(f"{TOKEN}refresh/", json={"refresh": "x"}, headers=OWN)

    assert (good.status_code, bad.status_code) == (200, 401)


def test_without_a_cookie_the_token_is_required(page: FlaskClient) -> None:
    for path in ("refresh/", "blacklist/"):
        answer = page.post(f"{TOKEN}{path}", json={}, headers=OWN)
        assert answer.status_code == 400
        assert set(answer.json["errors"]) == {"refresh"}


def test_logging_out_ends_the_session_and_deletes_all_cookies(
    page: FlaskClient, ann: Visitor
) -> None:
    bearer = {"Authorization": f"Bearer {log_in(page, ann).json['access']}"}

    answer = page.post(f"{TOKEN}blacklist/", json={}, headers=OWN)

    assert answer.status_code == 200
    gone = cookies_of(answer)
    assert set(gone) == {"beseda_access", "beseda_files", "beseda_refresh"}
    assert all("Max-Age=0" in each for each in gone.values())
    assert page.get("/accounts/api/users/me/", headers=bearer).status_code == 401
    assert page.post(f"{TOKEN}refresh/", json={}, headers=OWN).status_code == 400


def test_new_password_renews_the_cookie(page: FlaskClient, ann: Visitor) -> None:
    bearer = {"Authorization": f"Bearer {log_in(page, ann).json['access']}"}
    body = {"old_password": PASSWORD, "new_password": PASSWORD + "!", "cookie": True}

    answer = page.post("/accounts/api/password/", json=body, headers=OWN | bearer)

    assert answer.json["refresh"] == ""
    assert page.post(f"{TOKEN}refresh/", json={}, headers=OWN).status_code == 200


@pytest.mark.parametrize("fields", [{}, {"cookie": "true"}])
def test_form_of_another_site_leaves_no_cookie_behind(
    page: FlaskClient, ann: Visitor, fields: dict[str, Any]
) -> None:
    # Else whoever comes by would be logged in as the attacker, and talk as them.
    form = {"username": ann.username, "password": PASSWORD} | fields

    answer = page.post(TOKEN, data=form, headers=FOREIGN)

    assert answer.status_code == 200
    assert cookies_of(answer) == {}
    assert answer.json["refresh"]
    again = page.post(f"{TOKEN}refresh/", data={"refresh": answer.json["refresh"]}, headers=FOREIGN)
    assert cookies_of(again) == {}


def test_form_of_another_site_does_not_log_out(page: FlaskClient, ann: Visitor) -> None:
    log_in(page, ann)

    answer = page.post(f"{TOKEN}blacklist/", data={"refresh": ann.refresh}, headers=FOREIGN)

    assert cookies_of(answer) == {}
    assert page.post(f"{TOKEN}refresh/", json={}, headers=OWN).status_code == 200


@pytest.mark.parametrize("cookie", ["perhaps", None, []])
def test_cookie_is_yes_or_no(page: FlaskClient, ann: Visitor, cookie: Any) -> None:
    body = {"username": ann.username, "password": PASSWORD, "cookie": cookie}

    answer = page.post(TOKEN, json=body, headers=OWN)

    assert answer.status_code == 400
    assert set(answer.json["errors"]) == {"cookie"}
