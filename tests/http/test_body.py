"""Bodies of requests: what is a form and what is not, and which of two fields counts."""

from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from tests.problems import check_problem
from tests.visitors import Visitor, register

POSTS = "/profiles/api/posts/"


@pytest.fixture
def ann(client: FlaskClient) -> Visitor:
    return register(client)


def part(name: str, value: str, more: str = "") -> str:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


GOOD = part("title", "Title") + part("content", "Content")


def post(ann: Visitor, body: str, content_type: str) -> tuple[int, dict[str, object]]:
    answer = ann.http.post(
        POSTS, data=body.encode(), headers=ann.headers | {"Content-Type": content_type}
    )
    return answer.status_code, answer.json


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (f"{GOOD}--x--\r\n", "multipart/form-data; boundary=x"),
        (f"{GOOD}--x--", 'multipart/form-data; boundary="x"'),
        (f"\r\n{GOOD}--x--\r\nbehind", "multipart/form-data; boundary=x"),
        (f"before\r\n{GOOD}--x--\r\n", "Multipart/Form-Data; Boundary=x"),
        (GOOD.replace("--x\r\n", "--x  \r\n") + "--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_form_in_parts_is_read(ann: Visitor, body: str, content_type: str) -> None:
    status, post_ = post(ann, body, content_type)

    assert status == 201, post_
    assert (post_["title"], post_["content"]) == ("Title", "Content")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (f"{GOOD}--x--\r\n", "multipart/form-data"),
        (f"{GOOD}--x--\r\n", "multipart/form-data; boundary="),
        (f"{GOOD}--x--\r\n", "multipart/form-data; boundary=y"),
        (f"{GOOD}--x--\r\n", "multipart/form-data; boundary=xy"),
        (f"{GOOD}--x--\r\n", "multipart/form-data; boundary=X"),
        (GOOD, "multipart/form-data; boundary=x"),
        (f"{GOOD}--x-", "multipart/form-data; boundary=x"),
        ("title=Title&content=Content", "multipart/form-data; boundary=x"),
        ('{"title": "Title", "content": "Content"}', "multipart/form-data; boundary=x"),
    ],
)
def test_form_in_parts_without_its_boundary_is_refused_and_saves_nothing(
    ann: Visitor, body: str, content_type: str
) -> None:
    status, problem = post(ann, body, content_type)

    assert status == 400
    assert list(problem["errors"]) == ["non_field_errors"]  # type: ignore[call-overload]
    assert ann.get(POSTS).json == []


def test_picture_whose_form_has_no_boundary_changes_nothing(ann: Visitor) -> None:
    answer = ann.http.patch(
        "/profiles/api/profile/",
        data=b"bio=hi",
        headers=ann.headers | {"Content-Type": "multipart/form-data"},
    )

    check_problem(answer, 400, "invalid", ["non_field_errors"])
    assert ann.get("/profiles/api/profile/").json["profile"]["bio"] == ""


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (
            part("title", "first") + GOOD + part("title", "last") + "--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
        (
            urlencode([("title", "first"), ("content", "Content"), ("title", "last")]),
            "application/x-www-form-urlencoded",
        ),
        ('{"title": "first", "content": "Content", "title": "last"}', "application/json"),
        (
            part("title", "first") + GOOD + part("title", "last") + "--x--\r\n",
            "multipart/form-data; charset=utf-8; boundary=x",
        ),
    ],
    ids=["multipart", "urlencoded", "JSON", "multipart with a charset"],
)
def test_last_of_several_fields_of_one_name_counts(
    ann: Visitor, body: str, content_type: str
) -> None:
    status, post_ = post(ann, body, content_type)

    assert (status, post_["title"]) == (201, "last")


def test_last_of_a_text_and_a_file_of_one_name_counts(ann: Visitor) -> None:
    file = part("title", "x", '; filename="a.txt"')

    status, problem = post(
        ann, part("title", "first") + GOOD + file + "--x--\r\n", "multipart/form-data; boundary=x"
    )
    assert (status, list(problem["errors"])) == (400, ["title"])  # type: ignore[call-overload]

    status, _ = post(ann, file + GOOD + "--x--\r\n", "multipart/form-data; boundary=x")
    assert status == 201
