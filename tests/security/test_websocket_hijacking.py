"""A page of another site opens no socket in its reader's name: the cookie asks who sends it.

What the cookie may be read by is in tests/test_browser.py and tests/test_origins.py.
"""

from contextlib import closing

import pytest

from tests.factories import Person, make_person
from tests.security.conftest import LISTED
from tests.security.raw import dial, handshake, head_of
from tests.servers import Server
from tests.talk import chat_path

UNAUTHENTICATED = b"\x88\x21" + (4401).to_bytes(2, "big")  # the beginning of its close frame
ANSWER_TO_PING = b"\x8a\x02hi"
PING = b"\x89\x82\0\0\0\0hi"


def knock(
    server: Server,
    person: Person,
    room: str,
    *headers: str,
    host: str | None = None,
    planted: str = "",
) -> bytes:
    """Shake hands with the cookie of somebody, ping, and return the first frame that comes."""
    cookie = f"Cookie: {planted}beseda_access={person.access}"
    with closing(dial(server)) as connection:
        sent = handshake(server, chat_path(room), cookie, *headers, host=host)
        connection.sendall(sent)
        head = head_of(connection)
        assert head.startswith(b"HTTP/1.1 101 "), head
        connection.sendall(PING)
        return connection.recv(4)


@pytest.fixture(scope="module")
def ann(server: Server) -> Person:
    return make_person(server.url)


@pytest.fixture(scope="module")
def room(server: Server, ann: Person) -> str:
    return str(ann.open_room(make_person(server.url))["name"])


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_page_of_our_own_opens_a_socket_with_the_cookie(
    server: Server, ann: Person, room: str, scheme: str
) -> None:
    origin = f"Origin: {scheme}://127.0.0.1:{server.port}"

    assert knock(server, ann, room, origin) == ANSWER_TO_PING


def test_of_two_cookies_none_opens_a_socket(server: Server, ann: Person, room: str) -> None:
    # A page of a sub-domain may have set the first one, and would let its reader talk as another.
    other = make_person(server.url)
    origin = f"Origin: http://127.0.0.1:{server.port}"
    planted = f"beseda_access={other.access}; "

    assert knock(server, ann, room, origin, planted=planted) == UNAUTHENTICATED


FOREIGN = [
    None,
    "",
    "null",
    "https://evil.example",
    "http://{host}.evil.example",
    "http://evil.example/{host}",
    "http://evil.example#{host}",
    "http://evil.example?{host}",
    "http://{host}@evil.example",
    "http://evil.example@{host}",
    "http://{host}/",
    "http://{host}, http://evil.example",
    "http://evil.example, http://{host}",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "http://localhost",
    "ws://{host}",
    "file://",
    "{host}",
    "//{host}",
    "http://[",
    "http://[::1",
    "http://\xff",
    "http://" + "x" * 5000,
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_page_of_another_site_opens_none(
    server: Server, ann: Person, room: str, origin: str | None
) -> None:
    host = f"127.0.0.1:{server.port}"
    headers = [] if origin is None else [f"Origin: {origin.format(host=host)}"]

    assert knock(server, ann, room, *headers) == UNAUTHENTICATED


@pytest.mark.parametrize(
    ("origin", "scheme", "expected"),
    [
        ("https://{host}", "https", ANSWER_TO_PING),
        # Who can change what travels unencrypted must not get at what is encrypted.
        ("http://{host}", "https", UNAUTHENTICATED),
        ("http://{host}", "http", ANSWER_TO_PING),
        (LISTED, "https", ANSWER_TO_PING),
        (LISTED.replace("https", "http"), "https", UNAUTHENTICATED),
        (f"{LISTED}.evil.example", "https", UNAUTHENTICATED),
    ],
)
def test_behind_a_proxy_the_scheme_counts(
    proxied: Server, origin: str, scheme: str, expected: bytes
) -> None:
    ann = make_person(proxied.url)
    room = str(ann.open_room(make_person(proxied.url))["name"])
    host = f"127.0.0.1:{proxied.port}"

    frame = knock(
        proxied,
        ann,
        room,
        f"Origin: {origin.format(host=host)}",
        f"X-Forwarded-Proto: {scheme}",
    )

    assert frame == expected


@pytest.mark.parametrize(
    "headers",
    [
        ("Sec-WebSocket-Protocol: \xff",),
        ("Sec-WebSocket-Protocol: bearer, \xff",),
        ("Sec-WebSocket-Extensions: \xff",),
        ("Sec-WebSocket-Extensions: permessage-deflate; x=\x80",),
        ("Connection: keep-alive, \xff",),
        ("Upgrade: h2c",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Expect: 100-continue",),
        ("X-Odd: \x80\xff",),
        ("Content-Length: 5",),
        tuple(f"X-{number}: {'x' * 4000}" for number in range(80)),
    ],
    ids=lambda headers: repr(headers[0])[:40],
)
@pytest.mark.parametrize("host", [None, "", "[", "\xff", "xn--a", "a b", "x" * 70])
def test_odd_handshake_is_answered_and_harms_nothing(
    server: Server, ann: Person, room: str, headers: tuple[str, ...], host: str | None
) -> None:
    # The log is looked at afterwards: what a library stumbles over would be a defect of ours.
    bearer = f"Authorization: Bearer {ann.access}"

    with closing(dial(server)) as connection:
        connection.sendall(handshake(server, chat_path(room), bearer, *headers, host=host))
        status = int(head_of(connection).split(b" ")[1])

    assert status in (100, 101, 400, 426, 431), status
