"""Browsers of other sites, and proxies in front: who is believed what."""

from pathlib import Path

import pytest
from flask import Flask, request
from flask_migrate import upgrade

from app import create_app
from app.services import services
from tests.conftest import make_config, sqlite_url

LISTED = "https://app.example"
USERS = "/accounts/api/users/"


def make_app(folder: Path, **settings: str) -> Flask:
    app = create_app(make_config(folder, sqlite_url(folder), **settings))
    with app.app_context():
        upgrade()
    return app


@pytest.fixture
def client(tmp_path: Path):
    app = make_app(tmp_path, CORS_ORIGINS=f"{LISTED},http://[::1]:3000")
    yield app.test_client()
    services(app).engine.dispose()


@pytest.mark.parametrize("origin", [LISTED, "http://[::1]:3000"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", USERS, 401),
        ("POST", USERS, 400),
        ("GET", "/nowhere", 404),
        ("DELETE", USERS, 405),
    ],
)
def test_listed_origin_may_read_answers_and_errors(client, origin, method, path, status) -> None:
    answer = client.open(path, method=method, headers={"Origin": origin})

    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    exposed = {each.strip() for each in answer.headers["Access-Control-Expose-Headers"].split(",")}
    of_limits = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    of_lists = {"ETag", "Link", "X-Event-ID", "X-Search-As"}
    assert exposed == {"Retry-After", "X-Request-ID"} | of_lists | of_limits
    assert "Origin" in answer.headers["Vary"]


def test_listed_origin_may_send_tokens_and_json(client) -> None:
    answer = client.options(
        USERS,
        headers={
            "Origin": LISTED,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        },
    )

    assert answer.status_code == 200
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {each.strip() for each in allowed.split(",")} == {
        "authorization",
        "content-type",
        "idempotency-key",
    }
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://other.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://appXexample",
        "https://app.example:8443",
        "null",
    ],
)
def test_any_other_origin_may_read_nothing(client, origin) -> None:
    answer = client.get("/healthz", headers={"Origin": origin})

    assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_origin_is_listed_unless_somebody_lists_one(app) -> None:
    answer = app.test_client().get("/healthz", headers={"Origin": LISTED})

    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("hops", "address", "scheme"),
    [("0", "127.0.0.1", "http"), ("1", "5.5.5.5", "https"), ("2", "6.6.6.6", "http")],
)
def test_only_counted_proxies_are_believed(tmp_path: Path, hops, address, scheme) -> None:
    app = make_app(tmp_path, PROXY_HOPS=hops)
    seen = {}

    @app.get("/seen")
    def see() -> str:
        seen.update(address=request.remote_addr, scheme=request.scheme, host=request.host)
        return ""

    app.test_client().get(
        "/seen",
        headers={
            "X-Forwarded-For": "6.6.6.6, 5.5.5.5",
            "X-Forwarded-Proto": "http, https",
            "X-Forwarded-Host": "evil.example",
        },
    )
    services(app).engine.dispose()

    assert seen == {"address": address, "scheme": scheme, "host": "localhost"}


def test_cookie_is_for_https_only_where_there_is_https(tmp_path: Path) -> None:
    app = make_app(tmp_path, PROXY_HOPS="1")
    client = app.test_client()
    person = {"username": "ann", "email": "ann@example.com", "password": "yourpassword"}
    client.post(USERS, json=person)

    cookies = {
        scheme: client.post(
            "/accounts/api/token/", json=person, headers={"X-Forwarded-Proto": scheme}
        ).headers["Set-Cookie"]
        for scheme in ("http", "https")
    }
    services(app).engine.dispose()

    for cookie in cookies.values():
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=/messenger/ws/" in cookie
    assert "Secure" in cookies["https"]
    assert "Secure" not in cookies["http"]
