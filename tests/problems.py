"""The one shape that every refusal of the API has (CONTRACT.md section 1, RFC 9457)."""

import json
from collections.abc import Collection
from typing import Any

import httpx
from werkzeug.test import TestResponse

MEMBERS = {"type", "title", "status", "detail", "code"}


def check_problem(
    answer: httpx.Response | TestResponse,
    status: int,
    code: str | None = None,
    fields: Collection[str] = (),
) -> dict[str, Any]:
    """Check that an answer is a problem document, to the last key.

    Args:
        answer: Of a server, or of the application without one.
        status: What it has to be.
        code: The stable word that it has to have, if one is expected.
        fields: The names under which a 400 has to report something, no more and no fewer;
            other refusals name none.

    Returns:
        The document.
    """
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-ID"]
    problem: dict[str, Any] = json.loads(answer.text)
    if status == 400:
        errors = problem["errors"]
        assert set(errors) == set(fields), errors
        for field, sentences in errors.items():
            assert sentences, field
            assert all(isinstance(each, str) and each for each in sentences), errors
            assert field == "code" or problem[field] == sentences  # which stays a word for programs
        assert set(problem) == MEMBERS | {"errors"} | set(fields)
    else:
        assert set(problem) == MEMBERS
    assert problem["status"] == status
    assert all(
        isinstance(problem[member], str) and problem[member]
        for member in ("type", "title", "detail", "code")
        if status != 400 or member not in fields
    )
    assert code in (None, problem["code"])
    return problem
