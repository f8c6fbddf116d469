"""What must not come in does not: every fault of every endpoint is refused in the same shape.

Against a real server, so that what gunicorn, Werkzeug and we do is one thing. After each
test nothing has been written and the server still answers.
"""

import http.client
import json
import secrets
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
import pytest
from flask.testing import FlaskClient
from websockets.sync.client import ClientConnection

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.problems import check_problem
from tests.servers import Server
from tests.shapes import TIME
from tests.talk import close_code, hear, join, open_socket, send_text

pytestmark = pytest.mark.usefixtures("documented")  # and so is every answer below

MEBIBYTE = 1024 * 1024
NESTED = 100_000  # brackets; a parser that recurses falls over far earlier


class Endpoint(NamedTuple):
    """Something that takes a body.

    Attributes:
        method: Of the request.
        path: `{room}` stands for the name of a room of the caller's.
        body: Right in itself; with one field spoilt it must change nothing.
        optional: Fields that may be missing.
    """

    method: str
    path: str
    body: dict[str, Any]
    optional: tuple[str, ...] = ()

    @property
    def required(self) -> set[str]:
        return self.body.keys() - set(self.optional)


ENDPOINTS = {
    "users": Endpoint(
        "POST",
        "/accounts/api/users/",
        {"username": "not.yet.there", "email": "not.yet@example.com", "password": PASSWORD},
    ),
    "token": Endpoint(
        "POST", "/accounts/api/token/", {"username": "not.yet.there", "password": PASSWORD}
    ),
    "refresh": Endpoint("POST", "/accounts/api/token/refresh/", {"refresh": "x.y.z"}),
    "reset": Endpoint("POST", "/accounts/api/password/reset/", {"email": "not.yet@example.com"}),
    "profile": Endpoint(
        "PATCH", "/profiles/api/profile/", {"bio": "", "image": None}, optional=("bio", "image")
    ),
    "posts": Endpoint(
        "POST",
        "/profiles/api/posts/",
        {"title": "Т", "content": "т", "client_id": "1"},
        optional=("client_id",),
    ),
    "add-friend": Endpoint("POST", "/profiles/api/add-friend/", {"username": "not.yet.there"}),
    "remove-friend": Endpoint(
        "POST", "/profiles/api/remove-friend/", {"username": "not.yet.there"}
    ),
    "chatrooms": Endpoint("POST", "/messenger/api/chatrooms/", {"recipient": "not.yet.there"}),
    "messages": Endpoint(
        "POST",
        "/messenger/api/chatrooms/{room}/messages/",
        {"content": "т", "client_id": "1"},
        optional=("client_id",),
    ),
}

LISTS = {
    "users": "/accounts/api/users/",
    "posts": "/profiles/api/posts/",
    "chatrooms": "/messenger/api/chatrooms/",
    "own chatrooms": "/messenger/api/user/chatrooms/",
    "messages": "/messenger/api/chatrooms/{room}/messages/",
}


class Place(NamedTuple):
    """Where faults are tried: two people and their room on a server."""

    server: Server
    ann: Person
    bob: Person
    room: str

    def send(self, endpoint: Endpoint, **options: Any) -> httpx.Response:
        return self.ann.http.request(endpoint.method, self.path(endpoint.path), **options)

    def send_raw(
        self, endpoint: Endpoint, body: bytes, content_type: str = "application/json"
    ) -> httpx.Response:
        return self.send(endpoint, content=body, headers={"Content-Type": content_type})

    def path(self, template: str) -> str:
        return template.format(room=self.room)

    def written(self) -> dict[str, Any]:
        """Return what would change if anything were written: counts, profiles, files."""
        uri = f"file:{self.server.folder / 'beseda.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            tables = [
                name
                for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
                if not name.startswith("message_words")  # the server fills the index by itself
            ]
            found: dict[str, Any] = {
                table: database.execute(f"SELECT count(*) FROM {table}").fetchone()
                for table in tables
            }
            found["profiles"] = database.execute("SELECT * FROM profiles").fetchall()
        media = Path(self.server.env["MEDIA_ROOT"])
        found["files"] = sorted(path for path in media.rglob("*") if path.is_file())
        return found


@pytest.fixture(scope="module")
def place(server: Server) -> Place:
    ann, bob = make_person(server.url), make_person(server.url)
    return Place(server, ann, bob, ann.open_room(bob)["name"])


@pytest.fixture(autouse=True)
def _nothing_is_written_and_the_server_lives(request: pytest.FixtureRequest) -> Iterator[None]:
    if "place" not in request.fixturenames:
        yield
        return
    place: Place = request.getfixturevalue("place")
    before = place.written()
    yield
    assert place.written() == before
    assert place.ann.get("/profiles/api/profile/").status_code == 200


# Whole bodies

NO_OBJECTS = {
    "nothing": b"",
    "white space": b" \r\n",
    "null": b"null",
    "true": b"true",
    "a number": b"1",
    "a text": b'"username"',
    "an array": b"[]",
    "an array of objects": b'[{"username": "x"}]',
    "half an object": b"{",
    "two objects": b"{}{}",
    "no quotes": b"{username: 1}",
    "single quotes": b"{'username': 'x'}",
    "a trailing comma": b'{"username": "x",}',
    "a form": b"username=x",
    "HTML": b"<html></html>",
    "NaN": b'{"username": NaN}',
    "infinity": b'{"username": -Infinity}',
    "a raw line break in a text": b'{"username": "a\nb"}',
    "a raw NUL": b'{"username": "a\0b"}',
    "NUL": b"\0",
    "invalid UTF-8": b'{"username": "\xff"}',
    "a surrogate in UTF-8": b'{"username": "\xed\xa0\x80"}',
    "an overlong NUL": b'{"username": "\xc0\x80"}',
    "UTF-16": '{"username": "x"}'.encode("utf-16"),
    "deep arrays": b"[" * NESTED + b"]" * NESTED,
    "deep arrays without an end": b"[" * NESTED,
    "deep objects": b'{"a":' * NESTED + b"1" + b"}" * NESTED,
    "a deep field": b'{"username":' + b"[" * NESTED + b"]" * NESTED + b"}",
    "a huge number": b"9" * NESTED,
    "a number beyond infinity": b"1e999999",
}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_refuses_a_body_that_is_no_json_object(
    place: Place, name: str, subtests: pytest.Subtests
) -> None:
    for what, body in NO_OBJECTS.items():
        with subtests.test(what):
            answer = place.send_raw(ENDPOINTS[name], body)

            check_problem(answer, 400, "invalid", ["non_field_errors"])


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if ENDPOINTS[name].required])
def test_names_all_fields_that_are_missing(
    place: Place, name: str, subtests: pytest.Subtests
) -> None:
    for body in (b"{}", b'{"unknown": 1}', b'{"\\ud800": 1}', b'{"": 1}'):
        with subtests.test(body.decode()):
            answer = place.send_raw(ENDPOINTS[name], body)

            check_problem(answer, 400, "invalid", ENDPOINTS[name].required)


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if ENDPOINTS[name].required])
def test_takes_no_body_at_all_for_an_empty_one(place: Place, name: str) -> None:
    check_problem(place.send(ENDPOINTS[name]), 400, "invalid", ENDPOINTS[name].required)


OTHER_CONTENT_TYPES = [
    "text/plain",
    "text/html; charset=utf-8",
    "application/xml",
    "application/octet-stream",
    "application/jsonp",
    "multipart/mixed; boundary=x",
    "json",
    "/",
    "\xff",
]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_refuses_other_content_types(place: Place, name: str, subtests: pytest.Subtests) -> None:
    endpoint = ENDPOINTS[name]
    for content_type in OTHER_CONTENT_TYPES:
        with subtests.test(content_type):
            headers = [(b"Content-Type", content_type.encode("latin-1"))]

            answer = place.send(endpoint, content=json.dumps(endpoint.body), headers=headers)

            check_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("name", ENDPOINTS)
def test_refuses_a_body_without_a_content_type(place: Place, name: str) -> None:
    answer = place.send(ENDPOINTS[name], content=b"{}")

    check_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("name", ENDPOINTS)
def test_refuses_a_body_of_two_mebibytes(
    place: Place, name: str, subtests: pytest.Subtests
) -> None:
    body = b'{"username": "' + b"x" * (2 * MEBIBYTE) + b'"}'
    for content_type, status, code in (
        ("application/json", 413, "too_large"),
        ("application/x-www-form-urlencoded", 413, "too_large"),
        ("text/plain", 415, "unsupported_media_type"),
    ):
        with subtests.test(content_type):
            check_problem(place.send_raw(ENDPOINTS[name], body, content_type), status, code)


def test_refuses_a_form_of_seven_mebibytes_with_a_picture(place: Place) -> None:
    files = {"image": ("me.png", b"x" * (7 * MEBIBYTE), "image/png")}

    check_problem(place.send(ENDPOINTS["profile"], files=files), 413, "too_large")


@pytest.mark.parametrize("name", ["posts", "users"])
def test_refuses_a_form_with_files_of_two_mebibytes_where_no_picture_belongs(
    place: Place, name: str
) -> None:
    files = {"title": ("me.png", b"x" * (2 * MEBIBYTE), "image/png")}

    check_problem(place.send(ENDPOINTS[name], files=files), 413, "too_large")


def test_refuses_a_form_with_too_many_parts(place: Place) -> None:
    files = [("title", (None, b"x"))] * 5000

    check_problem(place.send(ENDPOINTS["posts"], files=files), 413, "too_large")


def test_refuses_a_form_with_too_many_fields(place: Place) -> None:
    answer = place.send_raw(ENDPOINTS["posts"], b"&" * 100_000, "application/x-www-form-urlencoded")

    check_problem(answer, 413, "too_large")


# Single fields

ABSENT = object()

FAULTS = {
    "missing": ABSENT,
    "null": None,
    "empty": "",
    "blank": " \t\n\u00a0\u3000",
    "a number": 1,
    "a fraction": 1.5,
    "a truth": True,
    "an array": ["username"],
    "an object": {"username": "x"},
    "a huge number": 10**400,
    "NUL": "a\0b",
    "a lone high surrogate": "a\ud800b",
    "a lone low surrogate": "\udc00",
    "surrogates the wrong way round": "\ude00\ud83d",
}

ALLOWED = {
    ("profile", "bio"): {"missing", "empty", "blank"},
    ("profile", "image"): {"missing", "null", "empty"},  # the last two take the picture away
    ("posts", "client_id"): {"missing", "null", "blank"},
    ("messages", "client_id"): {"missing", "null", "blank"},
    ("token", "password"): {"blank"},  # white space is kept, so it is only the wrong one
}

FIELD_FAULTS = {
    name: [
        (field, fault)
        for field in endpoint.body
        for fault in FAULTS
        if fault not in ALLOWED.get((name, field), ())
    ]
    for name, endpoint in ENDPOINTS.items()
}


def spoilt(body: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """Return a body with one field spoilt, or taken away."""
    return {key: each for key, each in (body | {field: value}).items() if each is not ABSENT}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_names_the_field_that_is_wrong(place: Place, name: str, subtests: pytest.Subtests) -> None:
    for field, fault in FIELD_FAULTS[name]:
        with subtests.test(f"{field}: {fault}"):
            body = spoilt(ENDPOINTS[name].body, field, FAULTS[fault])

            answer = place.send_raw(ENDPOINTS[name], json.dumps(body).encode())

            check_problem(answer, 400, "invalid", [field])


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("users", "username", "x" * 151),
        ("users", "username", "x" * 500_000),
        ("users", "email", "x" * 250 + "@example.com"),
        ("users", "email", "x" * 500_000),
        ("users", "password", "x" * 129),
        ("users", "password", "x" * 500_000),
        ("profile", "bio", "я" * 2001),
        ("profile", "image", "x" * 500_000),
        ("posts", "title", "я" * 201),
        ("posts", "content", "я" * 20_001),
        ("posts", "client_id", "x" * 65),
        ("messages", "content", "я" * 10_001),
        ("messages", "content", "x" * 1_000_000),
        ("messages", "client_id", "x" * 65),
    ],
    ids=lambda value: value if len(value) < 20 else f"{len(value)} characters",
)
def test_names_the_field_that_is_too_long(place: Place, name: str, field: str, value: str) -> None:
    answer = place.send(ENDPOINTS[name], json=ENDPOINTS[name].body | {field: value})

    check_problem(answer, 400, "invalid", [field])


@pytest.mark.parametrize("name", ["add-friend", "remove-friend", "chatrooms"])
def test_finds_nobody_with_a_name_of_impossible_length(place: Place, name: str) -> None:
    (field,) = ENDPOINTS[name].body

    answer = place.send(ENDPOINTS[name], json={field: "x" * 500_000})

    assert answer.status_code in (400, 404)
    check_problem(answer, answer.status_code, fields=[field])


@pytest.mark.parametrize("field", ["username", "password"])
def test_logs_nobody_in_with_a_text_of_impossible_length(place: Place, field: str) -> None:
    body = ENDPOINTS["token"].body | {field: "x" * 500_000}

    answer = place.send(ENDPOINTS["token"], json=body)

    assert answer.status_code in (400, 401)
    check_problem(answer, answer.status_code, fields=[field])


def test_takes_no_token_of_half_a_mebibyte(place: Place) -> None:
    answer = place.send(ENDPOINTS["refresh"], json={"refresh": "x" * 500_000})

    check_problem(answer, 401, "token_not_valid")


def test_takes_a_picture_from_no_json(place: Place) -> None:
    answer = place.send(ENDPOINTS["profile"], json={"image": "data:image/png;base64,iVBORw0KGgo="})

    check_problem(answer, 400, "invalid", ["image"])


@pytest.mark.parametrize(
    "data", [b"no picture", b"\0" * 1000, b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"], ids=repr
)
def test_refuses_a_picture_that_is_none(place: Place, data: bytes) -> None:
    answer = place.send(ENDPOINTS["profile"], files={"image": ("me.png", data, "image/png")})

    check_problem(answer, 400, "invalid", ["image"])


@pytest.mark.parametrize("key", ["", "x" * 65])
@pytest.mark.parametrize("name", ["messages", "posts"])
def test_names_a_wrong_idempotency_key(place: Place, name: str, key: str) -> None:
    body = {key: value for key, value in ENDPOINTS[name].body.items() if key != "client_id"}
    answer = place.send(ENDPOINTS[name], json=body, headers={"Idempotency-Key": key})

    check_problem(answer, 400, "invalid", ["Idempotency-Key"])


# Several faults at once


@pytest.mark.parametrize("name", ENDPOINTS)
def test_names_all_fields_that_are_wrong(place: Place, name: str) -> None:
    body = dict.fromkeys(ENDPOINTS[name].body, 1)

    check_problem(place.send(ENDPOINTS[name], json=body), 400, "invalid", body)


def test_names_different_faults_of_one_account(place: Place) -> None:
    body = {"username": "no spaces", "email": "no address", "password": "short"}

    check_problem(place.send(ENDPOINTS["users"], json=body), 400, "invalid", body)


@pytest.mark.parametrize("password", ["short", "12345678", "password"])
def test_names_a_taken_name_a_taken_address_and_a_bad_password_at_once(
    place: Place, password: str
) -> None:
    body = {
        "username": place.ann.username.upper(),
        "email": place.bob.email.upper(),
        "password": password,
    }

    check_problem(place.send(ENDPOINTS["users"], json=body), 400, "invalid", body)


def test_names_a_taken_name_beside_a_bad_address(place: Place) -> None:
    body = {"username": place.ann.username, "email": "no address", "password": PASSWORD}

    check_problem(place.send(ENDPOINTS["users"], json=body), 400, "invalid", ["username", "email"])


def test_names_a_taken_name_beside_a_missing_password(place: Place) -> None:
    body = {"username": place.ann.username, "email": "free@example.com"}

    check_problem(
        place.send(ENDPOINTS["users"], json=body), 400, "invalid", ["username", "password"]
    )


# Forms


@pytest.mark.parametrize("multipart", [False, True], ids=["urlencoded", "multipart"])
@pytest.mark.parametrize("name", ENDPOINTS)
def test_names_what_is_wrong_in_a_form(
    place: Place, name: str, multipart: bool, subtests: pytest.Subtests
) -> None:
    endpoint = ENDPOINTS[name]
    for field, fault in FIELD_FAULTS[name]:
        if fault not in ("missing", "empty", "blank", "NUL") or endpoint.body[field] is None:
            continue
        with subtests.test(f"{field}: {fault}"):
            body = spoilt(endpoint.body, field, FAULTS[fault])
            texts = {key: each for key, each in body.items() if each is not None}
            # A part beside it, so that there is a form even where its only field is missing.
            parts: dict[str, Any] = {"unknown": (None, "x")}
            parts |= {key: (None, each) for key, each in texts.items()}

            answer = place.send(
                endpoint, **({"files": parts} if multipart else {"data": texts or {"unknown": "x"}})
            )

            check_problem(answer, 400, "invalid", [field])


@pytest.mark.parametrize("multipart", [False, True], ids=["urlencoded", "multipart"])
@pytest.mark.parametrize("name", ENDPOINTS)
def test_names_the_field_of_a_form_that_is_no_utf_8(
    place: Place, name: str, multipart: bool, subtests: pytest.Subtests
) -> None:
    endpoint = ENDPOINTS[name]
    right = {key: each.encode() for key, each in endpoint.body.items() if each}
    for field, text in product(endpoint.body, (b"\xff", b"a\xed\xa0\x80b", b"\xc0\x80")):
        with subtests.test(f"{field}: {text!r}"):
            texts = right | {field: text}

            if multipart:
                parts = {key: (None, each) for key, each in texts.items()}
                answer = place.send(endpoint, files=parts)
            else:
                answer = place.send_raw(
                    endpoint, urlencode(texts).encode(), "application/x-www-form-urlencoded"
                )

            check_problem(answer, 400, "invalid", [field])


@pytest.mark.parametrize("name", ENDPOINTS)
def test_takes_no_file_for_a_text(place: Place, name: str, subtests: pytest.Subtests) -> None:
    endpoint = ENDPOINTS[name]
    for field in endpoint.body.keys() - {"image"}:
        with subtests.test(field):
            rest = {key: each for key, each in endpoint.body.items() if each and key != field}
            file = {field: ("a.txt", b"text", "text/plain")}

            check_problem(place.send(endpoint, data=rest, files=file), 400, "invalid", [field])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="ti'),
        ("multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\nx\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x--\r\n"),
        ("application/x-www-form-urlencoded", b""),
        ("application/x-www-form-urlencoded", b"&&&=&%&%zz"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"\xff\xfe"),
    ],
)
def test_takes_a_broken_form_for_an_empty_one(place: Place, content_type: str, body: bytes) -> None:
    answer = place.send_raw(ENDPOINTS["posts"], body, content_type)

    assert answer.status_code == 400, answer.text
    fields = set(answer.json()["errors"])
    assert fields in ({"title", "content"}, {"non_field_errors"})
    check_problem(answer, 400, fields=fields)


# Queries

BAD_NUMBERS = [
    *("", " ", "abc", "-1", "+1", "1.0", "1e3", "0x10", "1_000", "١", "²", "NaN", "null", "true"),
    *("1;2", "1,2", "\0", "1\0", "--", "' OR 1=1 --"),
]


@pytest.mark.parametrize("parameter", ["limit", "before", "after"])
@pytest.mark.parametrize("path", LISTS.values(), ids=LISTS)
def test_names_a_cursor_or_limit_that_is_no_number(place: Place, path: str, parameter: str) -> None:
    for value in BAD_NUMBERS + ["0"] * (parameter == "limit"):
        answer = place.ann.get(place.path(path), params={parameter: value})

        check_problem(answer, 400, "invalid", [parameter])


WRONG_QUERIES = {
    "before=5&after=1": ["before", "after"],
    "before=1&after=1&limit=2": ["before", "after"],
    "limit=x&before=y": ["limit", "before"],
    "limit=0&before=-1&after=": ["limit", "before", "after"],
    "limit=0&before=1&after=1": ["limit", "before", "after"],
    "limit=%ff": ["limit"],
    "before=%ED%A0%80": ["before"],
    "after=" + "x" * 3000: ["after"],
}


@pytest.mark.parametrize("path", LISTS.values(), ids=LISTS)
def test_names_all_parameters_that_are_wrong(
    place: Place, path: str, subtests: pytest.Subtests
) -> None:
    for query, fields in WRONG_QUERIES.items():
        with subtests.test(query):
            answer = place.ann.get(f"{place.path(path)}?{query}")

            check_problem(answer, 400, "invalid", fields)


NUMBERS_OF_ANY_SIZE = [
    "limit=1000000",
    "limit=" + "9" * 3000,
    "before=" + "9" * 3000,
    "after=9223372036854775807",
    "after=9223372036854775808",
    "before=0",
    "after=0",
    "limit=0001",
]


@pytest.mark.parametrize("path", LISTS.values(), ids=LISTS)
def test_takes_numbers_of_any_size(place: Place, path: str, subtests: pytest.Subtests) -> None:
    for query in NUMBERS_OF_ANY_SIZE:
        with subtests.test(query):
            answer = place.ann.get(f"{place.path(path)}?{query}")

            assert answer.status_code == 200, answer.text
            assert isinstance(answer.json(), list)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?username",
        "?username=",
        "?username=%20%09",
        "?name=x",
        "?username=%00",
        "?username=a%00b",
    ],
)
def test_names_the_login_that_a_search_needs(place: Place, query: str) -> None:
    answer = place.ann.get(f"/profiles/api/search-user/{query}")

    check_problem(answer, 400, "invalid", ["username"])


@pytest.mark.parametrize(
    "login",
    ["%", "%zz", "*", "%25", "'--", "%F0%9F%98%80", "[]", "{}", "a%0Ab", "%EF%BF%BF"],
)
def test_finds_nobody_by_a_login_that_nobody_can_have(place: Place, login: str) -> None:
    answer = place.ann.get(f"/profiles/api/search-user/?username={login}")

    check_problem(answer, 404, "user_not_found")


@pytest.mark.parametrize("login", ["%ff", "%ED%A0%80", "%C0%80", "x" * 3000])
def test_finds_nobody_by_a_login_that_is_no_utf_8_or_too_long(place: Place, login: str) -> None:
    answer = place.ann.get(f"/profiles/api/search-user/?username={login}")

    assert answer.status_code in (400, 404)
    check_problem(answer, answer.status_code, fields=["username"])


# Paths and methods


def raw(
    server: Server, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> httpx.Response:
    """Ask without a client that tidies up paths and methods."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return httpx.Response(
            answer.status,
            headers=answer.getheaders(),
            content=answer.read(),
        )


ODD_NAMES = [
    *("%00", "a%00b", "%ff", "%ED%A0%80", "%C0%AF", "%F0%9F%98%80", "%0d%0aX-A:b", "%", "%zz"),
    *("..", "%2e%2e", ".", "%2f", "..%2f..%2fetc%2fpasswd", "a%5cb", "x" * 3000, "%d0%b0" * 500),
    *("'%20OR%201=1--", "%3Cscript%3E", ";", "a;b=c", ":", "@", "*", "~", "%7e2", "a_b~2"),
]


@pytest.mark.parametrize(
    "path",
    [
        "/messenger/api/chatrooms/{}/messages/",
        "/media/{}",
        "/media/user_images/{}",
        "/{}",
        "/accounts/api/{}/users/",
        "/accounts/api/users/{}/",
    ],
)
def test_finds_nothing_under_odd_names(place: Place, path: str, subtests: pytest.Subtests) -> None:
    for name in ODD_NAMES:
        # Without a letter it is `/` with one slash more.
        asked = "/a%2f" if (path, name) == ("/{}", "%2f") else path.format(name)
        with subtests.test(name):
            check_problem(raw(place.server, "GET", asked, place.ann.bearer), 404)


def test_writes_nothing_to_rooms_with_odd_names(place: Place, subtests: pytest.Subtests) -> None:
    headers = place.ann.bearer | {"Content-Type": "application/json"}
    for name in ODD_NAMES:
        with subtests.test(name):
            path = f"/messenger/api/chatrooms/{name}/messages/"
            answer = raw(place.server, "POST", path, headers, b'{"content": "x"}')

            check_problem(answer, 404)


@pytest.mark.parametrize("name", ["%00", "%ff", "..", "x" * 3000, "%zz", "a%0ab"])
def test_opens_no_socket_under_odd_names(place: Place, name: str) -> None:
    url = f"{place.server.url}/messenger/ws/ws/chat/{name}/"
    with open_socket(url, place.ann.bearer) as socket:
        assert close_code(socket) == 4404


@pytest.mark.parametrize(
    "path",
    [
        "/accounts//api/users/",
        "/accounts/./api/users/",
        "/x/../accounts/api/users/",
        "/ACCOUNTS/API/USERS/",
        "/media/../app/__init__.py",
        "/media/%2e%2e/beseda.db",
        "/media//etc/passwd",
        "/messenger/api/chatrooms//messages/",
    ],
)
def test_tidies_up_no_path(place: Place, path: str) -> None:
    check_problem(raw(place.server, "GET", path, place.ann.bearer), 404)


def test_survives_an_address_that_is_longer_than_the_server_reads(place: Place) -> None:
    answer = raw(place.server, "GET", "/" + "x" * 100_000, place.ann.bearer)

    assert 400 <= answer.status_code < 500


METHODS_OF_PATHS = {
    "/accounts/api/users/": {"GET", "POST"},
    "/accounts/api/token/": {"POST"},
    "/accounts/api/token/refresh/": {"POST"},
    "/accounts/api/password/reset/": {"POST"},
    "/accounts/api/password/reset/confirm/": {"POST"},
    "/profiles/api/profile/": {"GET", "PATCH"},
    "/profiles/api/posts/": {"GET", "POST"},
    "/profiles/api/search-user/": {"GET"},
    "/profiles/api/add-friend/": {"POST"},
    "/profiles/api/remove-friend/": {"POST"},
    "/messenger/api/chatrooms/": {"GET", "POST"},
    "/messenger/api/chatrooms/{room}/messages/": {"GET", "POST"},
    "/messenger/api/user/chatrooms/": {"GET"},
    "/messenger/ws/ws/chat/{room}/": {"GET"},
    "/healthz": {"GET"},
    "/readyz": {"GET"},
}


@pytest.mark.parametrize("path", METHODS_OF_PATHS)
def test_refuses_other_methods_and_says_which_there_are(place: Place, path: str) -> None:
    mine = METHODS_OF_PATHS[path]
    allowed = mine | {"OPTIONS"} | ({"HEAD"} if "GET" in mine else set())
    odd = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "PROPFIND"} - allowed

    for method in odd:
        answer = raw(place.server, method, place.path(path), place.ann.bearer)

        assert answer.status_code == 405, method
        assert {each.strip() for each in answer.headers["Allow"].split(",")} == allowed
        if method != "HEAD":
            check_problem(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("method", ["get", "Get", "G", "B" * 30, "B@D", "B\u00e4D"])
def test_survives_methods_that_are_none(place: Place, method: str) -> None:
    request = f"{method} /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    answer = converse(place.server, request.encode("latin-1"))

    assert status_of(answer) in (400, 405, 501)


# Bodies in pieces, and bodies that never come


def converse(server: Server, request: bytes) -> bytes:
    """Send bytes, say that no more will come, and return all that is answered."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass  # it hung up on what it had not read
        return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b"{", 400, ["non_field_errors"]),
        (b"{}", 400, ["username"]),
        (b'{"username": ' + b"[" * NESTED, 400, ["non_field_errors"]),
        (b'{"username": "nobody.at.all"}', 404, []),
        (b'{"username": "' + b"x" * (2 * MEBIBYTE) + b'"}', 413, []),
        # Cut off at a mebibyte it would be right.
        (b'{"username": "nobody.at.all"}' + b" " * (2 * MEBIBYTE), 413, []),
    ],
    ids=["invalid JSON", "a missing field", "nested", "nobody", "two mebibytes", "white space"],
)
def test_judges_a_chunked_body_like_any_other(
    place: Place, body: bytes, status: int, fields: list[str]
) -> None:
    answer = place.send(
        ENDPOINTS["add-friend"],
        content=(body[at : at + 10_000] for at in range(0, len(body), 10_000)),
        headers={"Content-Type": "application/json"},
    )

    assert answer.request.headers["Transfer-Encoding"] == "chunked"
    check_problem(answer, status, fields=fields)


def test_takes_a_chunked_form_of_two_mebibytes_for_too_large(place: Place) -> None:
    body = b"username=nobody.at.all&rest=" + b"x" * (2 * MEBIBYTE)

    answer = place.send(
        ENDPOINTS["add-friend"],
        content=(body[at : at + 10_000] for at in range(0, len(body), 10_000)),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    check_problem(answer, 413, "too_large")


MALFORMED = [
    b"Content-Length: 100\r\n\r\n{",
    b"Content-Length: -1\r\n\r\n{}",
    b"Content-Length: two\r\n\r\n{}",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"Content-Length: 99999999999999999999\r\n\r\n{}",
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"Transfer-Encoding: gzip\r\n\r\n{}",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"X: \0\r\n\r\n",
    b"X y: z\r\n\r\n",
    b"Host: y\r\n\r\n",
]


@pytest.mark.parametrize("name", ["posts", "users"])
def test_survives_requests_that_are_malformed(
    place: Place, name: str, subtests: pytest.Subtests
) -> None:
    # What the HTTP server refuses by itself may look otherwise, and it may just hang up.
    head = (
        f"POST {ENDPOINTS[name].path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {place.ann.access}\r\n"
    )
    for rest in MALFORMED:
        with subtests.test(repr(rest)):
            answer = converse(place.server, head.encode() + rest)

            assert not answer or 400 <= status_of(answer) < 500, answer


def test_a_refused_body_is_not_taken_for_the_next_request(place: Place) -> None:
    # Two requests on one connection; the body of the first looks like a request itself.
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    first = (
        b"POST /no/such/path HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
        b"Content-Length: %d\r\n\r\n" % len(smuggled)
    )
    second = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    answer = converse(place.server, first + smuggled + second)

    assert answer.count(b"HTTP/1.1 404") == 1
    assert answer.count(b"HTTP/1.1 ") <= 2
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1 ") - 1


# Frames of the chat

BAD_FRAMES = {
    "nothing": "",
    "white space": " ",
    "no JSON": "Привет!",
    "half an object": "{",
    "null": "null",
    "a number": "1",
    "a text": '"message"',
    "an array": '[{"message": "x"}]',
    "no fields": "{}",
    "an unknown field": '{"content": "x"}',
    "NaN": '{"message": NaN}',
    "a raw NUL": '{"message": "a\0b"}',
    "deep arrays": "[" * NESTED,
    "deep objects": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "a huge number": "9" * NESTED,
    "too long": json.dumps({"message": "я" * 10_001}, ensure_ascii=False),
} | {
    f"{fault} for a message": json.dumps(spoilt({"message": "x"}, "message", value))
    for fault, value in FAULTS.items()
}

BAD_CLIENT_IDS = {
    fault: value for fault, value in FAULTS.items() if fault not in ("missing", "null", "blank")
}
BAD_CLIENT_IDS["too long"] = "x" * 65


@contextmanager
def sockets(place: Place) -> Iterator[tuple[ClientConnection, ClientConnection]]:
    """Open a socket of Ann's and one of Bob's in their room."""
    room = {"name": place.room}
    with join(place.ann, room) as anns, join(place.bob, room) as bobs:
        yield anns, bobs


def check_error_frame(frame: dict[str, Any], code: str, client_id: str | None = None) -> None:
    """Check that a frame is an error frame, to the last key."""
    error = {"code": code} if client_id is None else {"code": code, "client_id": client_id}
    assert set(frame) == {"id", "user", "content", "timestamp", "error"}
    assert (frame["id"], frame["user"], frame["error"]) == (None, None, error)
    assert isinstance(frame["content"], str)
    assert frame["content"]
    assert TIME.fullmatch(frame["timestamp"])


class TestFrames:
    """Here something is written: what shows afterwards that the sockets still work."""

    # Overrides the fixture of the module: each test says itself what may be stored.
    @pytest.fixture(autouse=True)
    def _nothing_is_written_and_the_server_lives(self) -> None:
        pass

    def test_a_bad_frame_is_answered_on_its_own_socket_which_works_on(
        self, place: Place, subtests: pytest.Subtests
    ) -> None:
        for fault, frame in BAD_FRAMES.items():
            with subtests.test(fault):
                self.check_refused(place, frame, None)

    def test_a_bad_client_id_is_refused(self, place: Place, subtests: pytest.Subtests) -> None:
        for fault, client_id in BAD_CLIENT_IDS.items():
            with subtests.test(fault):
                frame = {"message": "x", "client_id": client_id}
                self.check_refused(place, json.dumps(frame), None)

    @pytest.mark.parametrize("message", [None, 1, "", "я" * 10_001, "\0", "\ud800"])
    def test_an_error_names_the_frame_that_has_a_client_id(
        self, place: Place, message: Any
    ) -> None:
        frame = {"message": message, "client_id": "mine"}
        self.check_refused(place, json.dumps(frame), "mine")

    def check_refused(self, place: Place, frame: str, client_id: str | None) -> None:
        mark = secrets.token_hex(8)
        messages = place.written()["messages"]
        with sockets(place) as (anns, bobs):
            anns.send(frame)
            send_text(anns, mark)

            check_error_frame(hear(anns), "invalid", client_id)
            echoes = [hear(anns), hear(bobs)]

        assert echoes[0] == echoes[1]
        assert echoes[0]["content"] == mark
        assert set(echoes[0]) == {"id", "user", "content", "timestamp"}
        assert place.written()["messages"] == (messages[0] + 1,)

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (b'{"message": "binary"}', 1003),
            ("x" * (128 * 1024 + 1), 1009),
        ],
        ids=["binary", "over 128 KiB"],
    )
    def test_a_frame_that_cannot_be_read_closes_its_own_socket_only(
        self, place: Place, frame: str | bytes, code: int
    ) -> None:
        with sockets(place) as (anns, bobs):
            anns.send(frame)
            closed_with = close_code(anns)
            send_text(bobs, "still here")
            echo = hear(bobs)

        assert closed_with == code
        assert echo["content"] == "still here"


def test_a_socket_that_begins_after_no_number_is_closed(
    place: Place, subtests: pytest.Subtests
) -> None:
    for after in [*map(quote, BAD_NUMBERS), "%ff"]:
        url = f"{place.server.url}/messenger/ws/ws/chat/{place.room}/?after={after}"
        with subtests.test(after), open_socket(url, place.ann.bearer) as socket:
            assert close_code(socket) == 4400


class TestWhatOnlyLooksWrong:
    """Any Unicode text is right, also one that others use for what is wrong."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written_and_the_server_lives(self) -> None:
        pass

    @pytest.mark.parametrize("form", ["json", "data", "files"])
    def test_is_stored_as_it_is(self, place: Place, form: str, subtests: pytest.Subtests) -> None:
        for content in ("\ufffd", "%FF", "%00", "\\ud800", "\uffff", "null", "{"):
            with subtests.test(content):
                value = (None, content) if form == "files" else content

                sent = place.send(ENDPOINTS["messages"], **{form: {"content": value}})

                assert sent.status_code == 201, sent.text
                assert sent.json()["content"] == content


# What a database might stumble over, on both of them


def test_no_fault_gets_as_far_as_a_database(client: FlaskClient) -> None:
    ann = {"username": new_name(), "email": "ann@example.com", "password": PASSWORD}
    assert client.post("/accounts/api/users/", json=ann).status_code == 201
    token = client.post("/accounts/api/token/", json=ann).json["access"]
    bearer = {"Authorization": f"Bearer {token}"}
    other = {"username": new_name(), "email": "bob@example.com", "password": PASSWORD}
    client.post("/accounts/api/users/", json=other)
    room = client.post(
        "/messenger/api/chatrooms/", json={"recipient": other["username"]}, headers=bearer
    ).json["name"]

    for name, endpoint in ENDPOINTS.items():
        for field, fault in FIELD_FAULTS[name]:
            answer = client.open(
                endpoint.path.format(room=room),
                method=endpoint.method,
                data=json.dumps(spoilt(endpoint.body, field, FAULTS[fault])),
                content_type="application/json",
                headers=bearer,
            )
            check_problem(answer, 400, "invalid", [field])
    for odd in ODD_NAMES:
        check_problem(client.get(f"/messenger/api/chatrooms/{odd}/messages/", headers=bearer), 404)
    for number in ("9223372036854775808", "9" * 3000):
        for path in LISTS.values():
            for parameter in ("limit", "before", "after"):
                answer = client.get(
                    path.format(room=room), query_string={parameter: number}, headers=bearer
                )
                assert answer.status_code == 200, answer.text
