"""Downloads: parts, validators, headers, and the cookie that opens them."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.services import services
from tests.factories import PASSWORD
from tests.messenger.files.test_uploads import PDF, picture, sent
from tests.messenger.http import Caller, sign_up
from tests.problems import check_problem

DATA = bytes(range(256)) * 4000  # more than one piece


@pytest.fixture
def ann(app: Flask) -> Caller:
    return sign_up(app, "ann")


@pytest.fixture
def path(ann: Caller) -> str:
    return f"/files/{sent(ann, DATA)['id']}/"


def ask(who: Caller, path: str, method: str = "GET", **headers: str) -> TestResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return who.ask(method, path, headers=names, buffered=True)


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=300000-", 300_000, len(DATA)),
        ("bytes=-7", len(DATA) - 7, len(DATA)),
        ("bytes=1000-99999999", 1000, len(DATA)),
        ("bytes=0-", 0, len(DATA)),
    ],
)
def test_one_range_is_served(ann: Caller, path: str, wanted: str, start: int, stop: int) -> None:
    answer = ask(ann, path, Range=wanted)
    assert answer.status_code == 206
    assert answer.data == DATA[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(stop - start)


def test_more_than_the_whole_end_is_the_file(ann: Caller, path: str) -> None:
    answer = ask(ann, path, Range="bytes=-99999999")
    assert (answer.status_code, answer.data) == (200, DATA)


@pytest.mark.parametrize(
    "wanted",
    ["bytes=9999999-", "bytes=0-1,5-6", "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 600, 2))],
)
def test_other_ranges_are_refused(ann: Caller, path: str, wanted: str) -> None:
    answer = ask(ann, path, Range=wanted)
    check_problem(answer, 416, "range_not_satisfiable")


def test_range_of_another_version_gets_the_whole_file(ann: Caller, path: str) -> None:
    etag = ask(ann, path).headers["ETag"]
    part = ask(ann, path, Range="bytes=5-9", If_Range=etag)
    assert (part.status_code, part.data) == (206, DATA[5:10])
    for other in ('"other"', "Sat, 28 Nov 2026 10:00:00 GMT"):
        whole = ask(ann, path, Range="bytes=5-9", If_Range=other)
        assert (whole.status_code, whole.data) == (200, DATA)


def test_who_has_the_file_is_told_so(ann: Caller, path: str) -> None:
    first = ask(ann, path)
    again = ask(ann, path, If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    check_problem(ask(ann, path, If_Match='"other"'), 412)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-19"}])
def test_head_says_what_get_would(ann: Caller, path: str, headers: dict[str, str]) -> None:
    got, told = ask(ann, path, **headers), ask(ann, path, "HEAD", **headers)
    assert told.data == b""
    assert told.status_code == got.status_code
    kept = ("X-Request-ID", "Date")
    assert [each for each in told.headers if each[0] not in kept] == [
        each for each in got.headers if each[0] not in kept
    ]


def test_headers_keep_a_file_from_doing_harm(ann: Caller) -> None:
    shown, kept = sent(ann, picture(), "a.jpg"), sent(ann, PDF, "b.pdf")
    for upload, kind in ((shown, "inline"), (kept, "attachment")):
        headers = ask(ann, f"/files/{upload['id']}/").headers
        assert headers["Content-Disposition"].startswith(f"{kind}; ")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a b.txt", "filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt"),
        ("смех.txt", "filename=\"____.txt\"; filename*=UTF-8''%D1%81%D0%BC%D0%B5%D1%85.txt"),
        ('q"u;o%t.txt', "filename=\"q_u;o%t.txt\"; filename*=UTF-8''q%22u%3Bo%25t.txt"),
    ],
)
def test_name_goes_with_the_file(ann: Caller, name: str, expected: str) -> None:
    upload = sent(ann, b"x", name.replace('"', "%22"))
    said = ask(ann, f"/files/{upload['id']}/").headers["Content-Disposition"]
    assert upload["name"] == name
    assert said == f"attachment; {expected}"


def test_size_is_small_or_nothing(ann: Caller, path: str) -> None:
    check_problem(ask(ann, f"{path}?size=huge"), 400, "invalid", fields=["size"])
    assert ask(ann, f"{path}?size=small").data == DATA


def test_a_file_that_the_disk_has_lost_is_not_there(app: Flask, ann: Caller, path: str) -> None:
    services(app).files.delete(path.split("/")[2])
    check_problem(ask(ann, path), 404, "file_not_found")


@pytest.mark.parametrize("wrong", ["x", "0" * 32, "../../etc/passwd", "%00", "0" * 31 + "%00"])
def test_other_ids_lead_nowhere(ann: Caller, wrong: str) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        assert ask(ann, f"/files/{wrong}/", method).status_code == 404


# The cookie


@pytest.fixture
def page(app: Flask, ann: Caller) -> FlaskClient:
    """A page of ours with Ann's cookies."""
    page = app.test_client()
    body = {"username": ann.name, "password": PASSWORD}
    answer = page.post("/accounts/api/token/", json=body, headers={"Origin": "http://localhost"})
    assert answer.status_code == 200
    return page


def test_cookie_is_for_files_alone_and_lives_as_long_as_the_token(page: FlaskClient) -> None:
    cookie = page.get_cookie("beseda_files", path="/messenger/api/files/")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site, cookie.max_age) == (True, "Strict", 900)


def test_cookie_opens_files_for_reading(page: FlaskClient, path: str) -> None:
    url = f"/messenger/api{path}"
    for origin in ({}, {"Origin": "http://localhost"}):
        assert page.get(url, headers=origin, buffered=True).data == DATA
        assert page.head(url, headers=origin).status_code == 200
    check_problem(page.get(url, headers={"Origin": "https://evil.example"}), 401)
    check_problem(page.delete(url), 401, "not_authenticated")
    assert page.get(url, buffered=True).status_code == 200


def test_cookie_opens_nothing_else(page: FlaskClient) -> None:
    # Not even where a browser would be made to send it.
    token = page.get_cookie("beseda_files", path="/messenger/api/files/").value
    for method, url in (
        ("GET", "/messenger/api/chats/"),
        ("GET", "/accounts/api/users/me/"),
        ("POST", "/messenger/api/uploads/"),
        ("DELETE", f"/messenger/api/files/{'0' * 32}/"),
    ):
        answer = page.open(url, method=method, headers={"Cookie": f"beseda_files={token}"})
        check_problem(answer, 401, "not_authenticated")


def test_cookie_of_a_session_that_ended_opens_nothing(page: FlaskClient, path: str) -> None:
    (session,) = [
        each
        for each in page.get("/accounts/api/sessions/", headers=_bearer(page)).json
        if each["current"]
    ]
    page.delete(f"/accounts/api/sessions/{session['id']}/", headers=_bearer(page))
    check_problem(page.get(f"/messenger/api{path}"), 401, "token_not_valid")


def test_refreshing_renews_the_cookie(app: Flask, page: FlaskClient, ann: Caller) -> None:
    body = {"username": ann.name, "password": PASSWORD}
    own = {"Origin": "http://localhost"}
    refresh = page.post("/accounts/api/token/", json=body, headers=own).json["refresh"]
    page.delete_cookie("beseda_files", path="/messenger/api/files/")
    page.post("/accounts/api/token/refresh/", json={"refresh": refresh}, headers=own)
    assert page.get_cookie("beseda_files", path="/messenger/api/files/") is not None


def _bearer(page: FlaskClient) -> dict[str, Any]:
    token = page.get_cookie("beseda_files", path="/messenger/api/files/").value
    return {"Authorization": f"Bearer {token}"}
