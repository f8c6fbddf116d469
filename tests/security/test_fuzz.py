"""Thousands of requests and frames by chance: whatever comes, every refusal has its one form.

The routes are those that the application has, so that a new one is tried without being named
here. Both databases take their turns, because what one of them takes the other may not.
"""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import create_engine, select

from app import create_app
from app.extensions import db
from app.services import services
from tests.conftest import make_config, sqlite_url
from tests.factories import Person, log_in, make_person
from tests.problems import check_problem
from tests.security.conftest import check_log
from tests.security.raw import dial, frame, handshake, head_of
from tests.servers import Server
from tests.talk import chat_path
from tests.test_strangers import PUBLIC_BLUEPRINTS, SOCKETS

pytestmark = pytest.mark.long

REQUESTS_SECONDS, FRAMES_SECONDS, HANDSHAKES_SECONDS = 6, 4, 2  # for each database
PLANTED = 987_654_321  # only ever under a key that no body has
LINE_CHARS = 3_900  # of what gunicorn reads as the first line of a request

by_chance = settings(
    max_examples=25,  # a round; there are as many rounds as there is time for
    deadline=None,  # the machine may be busy
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


class Route(NamedTuple):
    """One method of one path, and the fields that it asks for with their examples."""

    method: str
    rule: str
    fields: dict[str, list[Any]]
    is_page: bool


def all_routes(folder: Path) -> list[Route]:
    app = create_app(make_config(folder, sqlite_url(folder)))
    found = []
    for rule in app.url_map.iter_rules():
        if rule.rule in SOCKETS:
            continue
        said = getattr(app.view_functions[rule.endpoint], "_spec", None) or {}
        models = [said.get("body"), *(model for model, _ in said.get("args", ()))]
        is_page = rule.endpoint.partition(".")[0] in PUBLIC_BLUEPRINTS
        found += [
            Route(method, rule.rule, dict(fields_of(models)), is_page)
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        ]
    services(app).engine.dispose()
    return sorted(found)


def fields_of(models: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    for model in models:
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                yield field.alias or name, list(field.examples or [])


class Place(NamedTuple):
    """A server and who tries it; Ann's session may end while she does."""

    server: Server
    people: list[Person]
    room: str
    routes: list[Route]
    connection: http.client.HTTPConnection


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("fuzz")
    changed = {"RATELIMIT_ENABLED": "false", "LOG_LEVEL": "WARNING"}
    if request.param == "postgresql":
        changed["DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    with Server(folder, changed) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)["name"]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        with closing(connection):
            yield Place(server, [ann, bob], room, all_routes(folder), connection)
        check_is_sound(server)
    check_log(server)


def check_is_sound(server: Server) -> None:
    """Check that a server answers, and has kept nothing that nobody may decide."""
    server.wait_ready()
    config = make_config(server.folder, server.env["DATABASE_URL"])
    engine = create_engine(config.DATABASE_URL)
    with engine.connect() as connection:
        for table in db.metadata.sorted_tables:
            for row in connection.execute(select(table)):
                assert PLANTED not in row, (table.name, row)
    engine.dispose()


# What may be in a request. Hypothesis gives the seed: drawing each part by it takes ten times as
# long as the answer, and there is little to shrink in one request.

NASTY = [
    *("", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "\ufffd", "\uffff", "\u202e", "\r\nX: y"),
    *("' OR 1=1 --", '"; DROP TABLE users; --', "%", "_", "%00", "%ff", "../../etc/passwd"),
    *("<script>alert(1)</script>", "{{7*7}}", "${7*7}", "$(id)", "`id`", "{0}", "%s%n", "{max}"),
    *("null", "true", "NaN", "-1", "0", "1e999", "9" * 40, "٣", "²", "1", "1.5", "0x10"),
    *("a" * 151, "я" * 2_001, "😀" * 200, "e" + "\u0301" * 300, "ﷺ" * 100, "İ", "ß" * 150),
    *("ann@example.com", "ann", "yourpassword", "x.y.z", "2024-12-12T10:00:00Z", "[]", "{}"),
]
ODD = [None, True, False, 0, -1, 2**63, -(2**70), 2**1000, 1.5, -0.0, float("nan"), float("inf")]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
QUERIES = ["limit", "before", "after", "username", "token", "format", "page", ""]
FORBIDDEN_KEYS = ["id", "user_id", "author_id", "owner_id", "room_id", "sid", "pk", "user"]
HEADERS = [
    *("Accept", "Accept-Language", "Accept-Encoding", "Cookie", "Origin", "Range", "Referer"),
    *("If-None-Match", "If-Modified-Since", "If-Match", "Idempotency-Key", "X-Request-ID"),
    *("User-Agent", "Content-Encoding", "X-Forwarded-For", "Forwarded", "Pragma", "Upgrade"),
    *("Access-Control-Request-Method", "Sec-WebSocket-Key", "X-HTTP-Method-Override"),
]
HEADER_VALUES = ["*", "\xff\x80", "a,b;q=x", "0", "bytes=0-", "", "en", "W/*"]
FORMS = ["json"] * 6 + ["bytes", "form", "form", "parts", "other"]
OTHER_TYPES = [
    *("text/plain", "application/json; charset=utf-16", "multipart/form-data", "x", "", None),
]


class Attempt(NamedTuple):
    """A request that may be anything, and which of the people sends it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    is_page: bool
    who: int | None


class Chance:
    """Whatever a seed makes of a request."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.choose = self.random.choice

    def text(self) -> str:
        if self.random.random() < 0.6:
            return self.choose(NASTY)
        most = self.choose([0x7F, 0xFFFF, 0x10FFFF])
        return "".join(chr(self.random.randrange(most)) for _ in range(self.random.randrange(30)))

    def header(self) -> str:
        if self.random.random() < 0.4:
            return self.choose(HEADER_VALUES)
        return "".join(
            chr(self.random.randrange(32, 127)) for _ in range(self.random.randrange(40))
        )

    def value(self, depth: int = 0) -> Any:
        kind = self.random.random()
        if kind < 0.6 or depth > 2:
            return self.text()
        if kind < 0.8:
            return self.choose(ODD)
        some = range(self.random.randrange(4))
        if kind < 0.9:
            return [self.value(depth + 1) for _ in some]
        return {self.text(): self.value(depth + 1) for _ in some}

    def path(self, rule: str, room: str) -> str:
        path = ""
        for piece in rule.split("<"):
            name, found, rest = piece.partition(">")
            if not found:
                path += name
                continue
            text = self.choose([room, room, "1", "x", self.text(), self.text()])
            path += quote(text, safe=self.choose(["", "/"]), errors="surrogatepass") + rest
        return path if self.random.random() < 0.9 else path.rstrip("/")

    def fields(self, route: Route) -> dict[str, Any]:
        fields = {
            name: self.choose([*examples * 2, self.text(), self.value()])
            for name, examples in route.fields.items()
            if self.random.random() < 0.9
        }
        return dict.fromkeys(FORBIDDEN_KEYS, PLANTED) | fields

    def body(self, fields: dict[str, Any]) -> tuple[bytes, str | None]:
        """Return a body in one of the forms that there are, and what it says that it is."""
        plain = {name: str(value) for name, value in fields.items()}
        match self.choose(FORMS):
            case "form":
                body = urlencode(plain, errors="surrogatepass").encode()
                return body, "application/x-www-form-urlencoded"
            case "parts":
                parts = [
                    f'--x\r\nContent-Disposition: form-data; name="{name}"'
                    + self.choose(["", '; filename="a.png"\r\nContent-Type: image/png'])
                    + f"\r\n\r\n{value}\r\n"
                    for name, value in plain.items()
                ]
                body = ("".join(parts) + "--x--\r\n").encode(errors="surrogatepass")
                return body, "multipart/form-data; boundary=x"
            case "other":
                return json.dumps(fields).encode(), self.choose(OTHER_TYPES)
            case "bytes":
                whole = bytearray(json.dumps(fields).encode())
                for _ in range(self.random.randint(1, 4)):
                    whole[self.random.randrange(len(whole))] = self.random.randrange(256)
                return bytes(whole), "application/json"
        return json.dumps(fields).encode(), "application/json"

    def attempt(self, routes: list[Route], room: str) -> Attempt:
        route = self.choose(routes)
        method = self.choose([route.method] * 40 + METHODS)
        some = range(self.random.randrange(4))
        query = urlencode({self.choose(QUERIES): self.text() for _ in some}, errors="surrogatepass")
        headers = {self.choose(HEADERS): self.header().strip() for _ in some}
        body = b""
        if method not in ("GET", "HEAD") or self.random.random() < 0.1:
            body, content_type = self.body(self.fields(route))
            if content_type is not None:
                headers["Content-Type"] = content_type
        path = self.path(route.rule, room)
        target = (f"{path}?{query}" if query else path)[:LINE_CHARS].rstrip("%")
        who = self.choose([0, 0, 0, 0, 1, None])
        return Attempt(method, target, headers, body, route.is_page, who)


def send(place: Place, attempt: Attempt, person: Person | None) -> httpx.Response:
    headers = dict(attempt.headers)
    if person is not None:
        headers["Authorization"] = f"Bearer {person.access}"
    connection = place.connection
    connection.request(attempt.method, attempt.target, attempt.body or None, headers)
    answer = connection.getresponse()
    return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


def still_in(person: Person) -> Person:
    """Return somebody who has perhaps ended the own session, in a new one if so."""
    answer = person.get("/accounts/api/users/me/")
    return log_in(person) if answer.status_code == 401 else person


def check_answer(attempt: Attempt, answer: httpx.Response) -> None:
    """Check that an answer is one that the contract knows."""
    assert answer.status_code < 500, answer.text
    assert answer.headers["X-Request-ID"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    kind = answer.headers.get("Content-Type", "")
    if attempt.method == "HEAD" or answer.status_code in (204, 304):
        assert not answer.content
    elif answer.status_code >= 400:
        fields = answer.json().get("errors", {}) if answer.status_code == 400 else ()
        check_problem(answer, answer.status_code, fields=fields)
    elif not attempt.is_page and attempt.method != "OPTIONS":
        assert kind == "application/json"
        assert answer.json() is not None
    assert attempt.is_page or "html" not in kind


def test_every_answer_to_whatever_request_is_in_order(place: Place) -> None:
    seen: dict[int, int] = {}

    @by_chance
    @given(st.integers(0, 2**64))
    def try_requests(seed: int) -> None:
        chance = Chance(seed)
        for _ in range(10):
            attempt = chance.attempt(place.routes, place.room)
            note(repr(attempt))
            who = attempt.who
            answer = send(place, attempt, None if who is None else place.people[who])

            check_answer(attempt, answer)
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
            if who is not None and attempt.method in ("POST", "DELETE"):
                place.people[who] = still_in(place.people[who])

    until = time.monotonic() + REQUESTS_SECONDS
    while time.monotonic() < until:
        try_requests()

    print(f"{sum(seen.values())} requests: {dict(sorted(seen.items()))}")
    assert {200, 400, 401, 404, 405} <= seen.keys()  # it was no monologue


# The socket

texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=30))
values = st.one_of(texts, st.sampled_from(ODD[:7]), st.lists(texts, max_size=3))
queries = st.dictionaries(st.sampled_from(QUERIES), texts, max_size=3)
header_values = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    st.sampled_from(HEADER_VALUES),
)
ENDS = {1002, 1003, 1007, 1009, 4400, 4401, 4404, 4408, 4429}  # and what the client ends with
KEYS = {"id", "user", "content", "timestamp"}


chats = st.fixed_dictionaries(
    {},
    optional={
        "message": st.one_of(st.just("Привет!"), texts, values),
        "client_id": st.one_of(texts, values),
        "id": st.just(PLANTED),
        "user": st.just(PLANTED),
        "timestamp": st.just("1999-09-09T09:09:09Z"),
    },
)
payloads = st.one_of(
    chats.map(lambda chat: json.dumps(chat).encode()),
    values.map(lambda value: json.dumps(value).encode()),
    texts.map(lambda text: text.encode(errors="surrogatepass")),
    st.binary(max_size=200),
    st.sampled_from([b"[" * 5_000, b'{"a":' * 5_000, b"9" * 5_000, b"x" * 70_000, b"x" * 140_000]),
)
pieces = st.one_of(
    payloads.map(lambda payload: frame(0x81, payload)),
    payloads.map(lambda payload: frame(0x81, payload)),
    payloads.map(lambda payload: frame(0x81, payload, b"mask")),
    payloads.map(lambda payload: frame(0x01, payload)),
    payloads.map(lambda payload: frame(0x80, payload)),
    st.binary(max_size=125).map(lambda payload: frame(0x89, payload)),
    st.binary(max_size=125).map(lambda payload: frame(0x8A, payload)),
    st.binary(max_size=125).map(lambda payload: frame(0x88, payload)),
    st.builds(frame, st.integers(0, 255), st.binary(max_size=200)),
    st.binary(min_size=1, max_size=30),
)


def frames_until(connection: Any, last: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the frames of a server until it closes, or a certain frame comes."""
    rest = b""
    has_ended = False
    connection.settimeout(2)
    while True:
        while len(rest) >= 2:
            length, begin = rest[1], 2
            assert length < 128, "a server does not mask"
            if length > 125:
                width = 2 if length == 126 else 8
                if len(rest) < 2 + width:
                    break
                length, begin = int.from_bytes(rest[2 : 2 + width], "big"), 2 + width
            if len(rest) < begin + length:
                break
            head, payload = rest[0], rest[begin : begin + length]
            rest = rest[begin + length :]
            yield head, payload
            if head == 0x88 or payload == last:
                return
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return
        except TimeoutError:
            # One sending in several thousand ends with the beginning of a frame that takes the
            # last word for a part of it. A server that reads is told that no more comes.
            if has_ended:
                raise
            has_ended = True
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            continue
        if not piece:
            assert not rest, rest
            return
        rest += piece


def check_frame(head: int, payload: bytes) -> None:
    """Check that a frame is one that the contract knows; a close frame is checked elsewhere."""
    if head == 0x81:
        said = json.loads(payload)
        assert KEYS <= said.keys() <= KEYS | {"client_id", "error"}, said
        assert (said["id"] is None) is ("error" in said), said
        assert said["id"] != PLANTED
        assert said["user"] != PLANTED
        assert said["timestamp"] > "2000", said
    else:
        assert head in (0x88, 0x89, 0x8A), hex(head)


def test_every_frame_after_whatever_was_sent_is_in_order(place: Place) -> None:
    seen: dict[str, int] = {}
    bearer = f"Authorization: Bearer {log_in(place.people[0]).access}"

    @by_chance
    @given(st.lists(pieces, min_size=1, max_size=20))
    def try_frames(sent: list[bytes]) -> None:
        with closing(dial(place.server)) as connection:
            connection.sendall(handshake(place.server, chat_path(place.room), bearer))
            assert b" 101 " in head_of(connection)
            with suppress(OSError):  # it may have hung up
                connection.sendall(b"".join(sent) + frame(0x89, b"the last word"))
            for head, payload in frames_until(connection, b"the last word"):
                check_frame(head, payload)
                if head == 0x88:
                    # A goodbye of the client is answered with its own code, whatever it is. A
                    # defect of ours would be in the log.
                    code = int.from_bytes(payload[:2], "big")
                    assert code in ENDS or b"\x88" in b"".join(sent), payload
                what = {0x81: "texts", 0x88: "goodbyes"}.get(head, "others")
                seen[what] = seen.get(what, 0) + 1
            seen["sent"] = seen.get("sent", 0) + len(sent)

    until = time.monotonic() + FRAMES_SECONDS
    while time.monotonic() < until:
        try_frames()

    print(f"frames: {seen}")
    assert min(seen["texts"], seen["goodbyes"]) > 10  # it was no monologue


def test_every_handshake_is_answered_in_order(place: Place) -> None:
    seen: dict[int, int] = {}
    ann = log_in(place.people[0])
    of_handshakes = st.dictionaries(
        st.sampled_from(
            [
                *("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key"),
                *("Sec-WebSocket-Version", "Connection", "Upgrade", "Origin", "Cookie", "Accept"),
                *("Accept-Language", "Authorization", "X-Forwarded-Proto", "Sec-WebSocket-Accept"),
            ]
        ),
        st.one_of(
            header_values,
            st.sampled_from(
                ["websocket", "Upgrade", "13", "8", f"bearer, {ann.access}", f"Bearer {ann.access}"]
            ),
        ),
        max_size=5,
    )

    @by_chance
    @given(of_handshakes, queries, texts, st.sampled_from([None, "", "x", "[", "\xff", "xn--a"]))
    def try_handshake(
        chosen: dict[str, str], query: dict[str, str], name: str, host: str | None
    ) -> None:
        path = "/messenger/ws/ws/chat/" + quote(name, safe="", errors="surrogatepass") + "/"
        target = f"{path}?{urlencode(query, errors='surrogatepass')}"[:LINE_CHARS].rstrip("%")
        lines = [f"{name}: {value}" for name, value in chosen.items()]
        sent = handshake(place.server, target, *lines, host=host)
        for key in chosen:  # one of each, not two
            for line in sent.split(b"\r\n")[2:6]:
                if line.lower().startswith(key.lower().encode() + b":"):
                    sent = sent.replace(line + b"\r\n", b"", 1)
        with closing(dial(place.server)) as connection:
            connection.sendall(sent)
            head = head_of(connection)
            status = int(head.split(b" ")[1])
            seen[status] = seen.get(status, 0) + 1
            assert status in (101, 400, 404, 426), head
            if status == 101:
                for kind, payload in frames_until(connection, b""):
                    check_frame(kind, payload)
                    assert kind != 0x88 or int.from_bytes(payload[:2], "big") in ENDS, payload
                    break
            else:
                assert b"Content-Type: application/problem+json" in head, head

    until = time.monotonic() + HANDSHAKES_SECONDS
    while time.monotonic() < until:
        try_handshake()

    print(f"handshakes: {dict(sorted(seen.items()))}")
    assert {101, 400, 426} <= seen.keys()
