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
