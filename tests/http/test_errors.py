"""Refusals of the framework, in the one form of all errors."""

import pytest
from flask.testing import FlaskClient

from tests.problems import check_problem


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/accounts/api/users", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("DELETE", "/accounts/api/users/", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("GET", "/accounts/api/token", {"OPTIONS", "POST"}),
        ("PUT", "/messenger/api/chatrooms/a_b/messages", {"GET", "HEAD", "OPTIONS", "POST"}),
    ],
)
def test_wrong_method_is_named_with_and_without_the_last_slash(
    client: FlaskClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = client.open(path, method=method)

    check_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/nothing", "/accounts/api/nothing", "/accounts/api/users/x/y"])
def test_path_that_is_not_there_is_not_found(client: FlaskClient, path: str) -> None:
    check_problem(client.delete(path), 404, "not_found")


def test_token_in_a_path_reaches_no_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"
    with caplog.at_level("INFO", logger="app.http.middleware"):
        client.get(f"/messenger/ws/ws/chat/a_b/%3Ftoken={token}")
        client.get(f"/{token}")
        client.get(f"/accounts/api/sessions/{token}/")

    assert len(caplog.records) == 3
    logged = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert not [each for each in logged if token[20:40] in each], logged
