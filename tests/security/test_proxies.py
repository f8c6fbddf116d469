"""What a request says of itself and of its way here: nothing is built from it, or believed.

Which addresses are counted, without a server, is in tests/test_origins.py.
"""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.problems import check_problem
from tests.security.conftest import LISTED
from tests.security.raw import ask, request
from tests.servers import Server

EVIL = "evil.example"


@pytest.fixture(scope="module")
def ann(server: Server) -> Person:
    ann = make_person(server.url)
    for number in range(3):
        ann.post("/profiles/api/posts/", {"title": f"{number}", "content": "x"})
    return ann


HINTS = [
    (f"Host: {EVIL}",),
    (f"Host: {EVIL}:1",),
    ("Host:",),
    ("Host: [",),
    ("Host: a b",),
    ("Host: \xff",),
    ("Host: x", f"X-Forwarded-Host: {EVIL}"),
    ("Host: x", f"X-Host: {EVIL}"),
    ("Host: x", f"Forwarded: host={EVIL};proto=https;for=6.6.6.6"),
    ("Host: x", f"X-Forwarded-Server: {EVIL}"),
    ("Host: x", "X-Forwarded-Prefix: /evil"),
    ("Host: x", "X-Forwarded-Port: 666"),
    ("Host: x", "X-Original-URL: /evil"),
    ("Host: x", "X-Rewrite-URL: /evil"),
    ("Host: x", "X-HTTP-Method-Override: DELETE"),
    ("Host: x", "X-Method-Override: DELETE"),
    ("Host: x", "SCRIPT_NAME: /profiles"),
    ("Host: x", "Script-Name: /profiles"),
    ("Host: x", "PATH_INFO: /healthz"),
    ("Host: x", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"),
    ("Host: x", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
    ("Host: x", "REMOTE_USER: 1"),
    ("Host: x", "Remote-User: admin", "X-Remote-User: admin"),
]


def seen(server: Server, ann: Person, path: str, hints: tuple[str, ...]) -> object:
    answer = ask(server, request("GET", path, f"Authorization: Bearer {ann.access}", *hints))
    changing = {"date", "x-request-id"}
    headers = {name: value for name, value in answer.headers.items() if name not in changing}
    return answer.status, headers, answer.body


@pytest.mark.parametrize("hints", HINTS, ids=lambda hints: ", ".join(hints))
def test_nothing_is_built_from_what_a_request_says_of_its_way(
    server: Server, ann: Person, hints: tuple[str, ...]
) -> None:
    # A list with a `Link`, a path without its slash, one that is not there, one with a folder before
    for path in (
        "/profiles/api/posts/?limit=1",
        "/profiles/api/profile",
        "/nowhere",
        "/profiles/profiles/api/profile/",
    ):
        plain = seen(server, ann, path, ("Host: x",))

        assert seen(server, ann, path, hints) == plain
        assert EVIL not in repr(plain)


def login(server: Server, person: Person, *headers: str) -> tuple[str, str]:
    """Return the cookie and the noted address of a login."""
    body = json.dumps({"username": person.username, "password": PASSWORD}).encode()
    sent = request(
        "POST", "/accounts/api/token/", "Host: x", "Content-Type: application/json", *headers,
        body=body,
    )  # fmt: skip
    answer = ask(server, sent)
    assert answer.status == 200, answer
    bearer = {"Authorization": f"Bearer {json.loads(answer.body)['access']}"}
    sessions = httpx.get(f"{server.url}/accounts/api/sessions/", headers=bearer).json()
    (address,) = [each["address"] for each in sessions if each["current"]]
    return answer.headers["set-cookie"], address


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Forwarded-Proto: https",),
        ("X-Forwarded-Ssl: on",),
        ("X-Forwarded-Protocol: ssl",),
        ("Forwarded: for=6.6.6.6;proto=https",),
        ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"),
        ("X-Real-IP: 6.6.6.6",),
    ],
)
def test_where_no_proxy_is_counted_none_is_believed(
    server: Server, ann: Person, headers: tuple[str, ...]
) -> None:
    cookie, address = login(server, ann, *headers)

    assert "; Secure" not in cookie
    assert address == "127.0.0.1"


@pytest.mark.parametrize(
    ("headers", "secure", "address"),
    [
        (("X-Forwarded-For: 5.5.5.5", "X-Forwarded-Proto: https"), True, "5.5.5.5"),
        (("X-Forwarded-For: 6.6.6.6, 5.5.5.5", "X-Forwarded-Proto: http, https"), True, "5.5.5.5"),
        (("X-Forwarded-For: 5.5.5.5", "X-Forwarded-Proto: https, http"), False, "5.5.5.5"),
        (("X-Forwarded-Ssl: on", "X-Real-IP: 6.6.6.6"), False, "127.0.0.1"),
        (("X-Forwarded-For: " + "6" * 5000,), False, "6" * 45),
        (("X-Forwarded-For: \xff",), False, "\xff"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_behind_one_proxy_its_word_counts_and_no_other(
    proxied: Server, headers: tuple[str, ...], secure: bool, address: str
) -> None:
    ann = make_person(proxied.url)

    cookie, noted = login(proxied, ann, *headers)

    assert ("; Secure" in cookie) is secure
    assert {"HttpOnly", "SameSite=Strict", "Path=/messenger/ws/"} <= set(cookie.split("; "))
    assert noted == address


def requests_of_a_listed_origin() -> Iterator[tuple[str, bytes]]:
    body = json.dumps({"username": new_name()}).encode()
    json_type = "Content-Type: application/json"
    yield "200", request("GET", "/healthz", "Host: x", f"Origin: {LISTED}")
    yield (
        "400",
        request(
            "POST", "/accounts/api/users/", "Host: x", f"Origin: {LISTED}", json_type, body=body
        ),
    )
    yield "401", request("GET", "/accounts/api/users/", "Host: x", f"Origin: {LISTED}")
    yield "404", request("GET", "/media/nothing", "Host: x", f"Origin: {LISTED}")
    yield "405", request("DELETE", "/accounts/api/users/", "Host: x", f"Origin: {LISTED}")
    yield "413", request(
        "POST", "/accounts/api/users/", "Host: x", f"Origin: {LISTED}", json_type,
        body=b'"' + b"x" * 2_000_000 + b'"',
    )  # fmt: skip
    yield "415", request(
        "POST", "/accounts/api/users/", "Host: x", f"Origin: {LISTED}", "Content-Type: a/b",
        body=body,
    )  # fmt: skip


def test_listed_origin_reads_every_answer_and_no_other_does(proxied: Server) -> None:
    for status, sent in requests_of_a_listed_origin():
        answer = ask(proxied, sent)
        foreign = ask(proxied, sent.replace(LISTED.encode(), b"https://" + EVIL.encode()))

        assert str(answer.status) == status == str(foreign.status)
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert {"Link", "Retry-After", "X-Request-ID"} <= {
            each.strip() for each in answer.headers["access-control-expose-headers"].split(",")
        }
        assert "access-control-allow-origin" not in foreign.headers
        # Pages of listed origins can have the cookie of the sockets; others cannot.
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "access-control-allow-credentials" not in foreign.headers


def test_foreign_origin_may_not_even_ask(proxied: Server) -> None:
    with httpx.Client(base_url=proxied.url) as http:
        for origin, allowed in ((LISTED, True), (f"https://{EVIL}", False), ("null", False)):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = http.options("/accounts/api/token/", headers=asked)

            assert ("Access-Control-Allow-Methods" in answer.headers) is allowed
            assert ("Access-Control-Allow-Origin" in answer.headers) is allowed


def test_no_host_that_werkzeug_cannot_read_is_a_defect(server: Server) -> None:
    for host in ("x" * 70, "..", "a..b", f"{'x' * 63}.{'y' * 64}"):
        answer = httpx.get(f"{server.url}/healthz", headers={"Host": host})

        check_problem(answer, 400, "bad_request", ["non_field_errors"])
