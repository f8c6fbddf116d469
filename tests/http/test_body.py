"""Bodies of requests: what is a form and what is not, and which of two fields counts."""

from io import BytesIO
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from PIL import Image

from tests.problems import check_problem
from tests.visitors import Visitor, register

POSTS = "/profiles/api/posts/"
PROFILE = "/profiles/api/profile/"


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
        PROFILE,
        data=b"bio=hi",
        headers=ann.headers | {"Content-Type": "multipart/form-data"},
    )

    check_problem(answer, 400, "invalid", ["non_field_errors"])
    assert ann.get(PROFILE).json["profile"]["bio"] == ""


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


# Pictures


def picture() -> tuple[BytesIO, str]:
    file = BytesIO()
    Image.new("RGB", (9, 9), "red").save(file, "PNG")
    file.seek(0)
    return file, "a.png"


def image_of(ann: Visitor) -> str:
    return str(ann.get(PROFILE).json["profile"]["image"])


def is_served(ann: Visitor, image: str) -> bool:
    with ann.http.get(image) as answer:
        return answer.status_code == 200


@pytest.mark.parametrize(
    "file",
    [
        '; filename=""\r\nContent-Type: application/octet-stream',  # as browsers write it
        '; filename=""',
    ],
)
def test_file_input_in_which_nothing_is_chosen_leaves_the_picture(ann: Visitor, file: str) -> None:
    default = image_of(ann)
    ann.patch(PROFILE, data={"image": picture()})
    uploaded = image_of(ann)
    body = part("bio", "hi") + part("image", "", file) + "--x--\r\n"

    answer = ann.http.patch(
        PROFILE,
        data=body.encode(),
        headers=ann.headers | {"Content-Type": "multipart/form-data; boundary=x"},
    )

    assert answer.status_code == 200, answer.text
    assert answer.json["profile"]["bio"] == "hi"
    assert image_of(ann) == uploaded != default
    assert is_served(ann, uploaded)


def test_only_null_takes_a_picture_away(ann: Visitor) -> None:
    default = image_of(ann)
    ann.patch(PROFILE, data={"image": picture()})
    uploaded = image_of(ann)

    for wrong in ("", "null", [], False, uploaded):
        check_problem(ann.patch(PROFILE, {"image": wrong}), 400, fields=["image"])
    for parts in (
        part("image", ""),
        part("image", "null"),
        part("image", "", '; filename="a.png"'),
    ):
        answer = ann.http.patch(
            PROFILE,
            data=f"{parts}--x--".encode(),
            headers=ann.headers | {"Content-Type": "multipart/form-data; boundary=x"},
        )
        check_problem(answer, 400, fields=["image"])
    assert image_of(ann) == uploaded
    assert is_served(ann, uploaded)

    assert ann.patch(PROFILE, {"image": None}).status_code == 200
    assert image_of(ann) == default
    assert not is_served(ann, uploaded)
