"""What is sent to push services, and what becomes of their answers."""

import socket
from collections.abc import Iterator
from itertools import repeat
from time import monotonic

import pytest

from app.notifications import push_service
from app.notifications.keys import ServerKey
from app.notifications.push_service import BODY_BYTES_MAX, Outcome, Result
from tests.notifications import phones
from tests.notifications.phones import Phone, PushService, answer_for, claims_of

KEY = ServerKey(b"a secret of the tests, not of yours", None)


@pytest.fixture
def service() -> Iterator[PushService]:
    with phones.push_service() as service:
        yield service


def send(phone: Phone, body: bytes = b'"hello"', *, allow_private: bool = True) -> Result:
    return push_service.send(
        phone.browser, body, KEY, topic="room", is_urgent=True, allow_private=allow_private
    )


def test_browser_decrypts_what_was_sent(service: PushService) -> None:
    phone = service.phone("/ann?x=1")

    assert send(phone, '"Привет"'.encode()) == Result(Outcome.SENT)

    (request,) = phone.requests()
    assert phone.decrypt(request.body) == "Привет"
    assert "Привет".encode() not in request.body
    assert claims_of(request.headers["authorization"], KEY.public)["aud"] == service.url
    expected = {"content-encoding": "aes128gcm", "ttl": "86400", "topic": "room", "urgency": "high"}
    assert expected.items() <= request.headers.items()


def test_largest_body_has_4096_bytes(service: PushService) -> None:
    phone = service.phone("/ann")

    send(phone, b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"')

    assert len(phone.requests()[0].body) == 4096  # RFC 8291, section 4


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SENT),
        (202, Outcome.SENT),
        (302, Outcome.FAILED),
        (400, Outcome.FAILED),
        (403, Outcome.GONE),
        (404, Outcome.GONE),
        (410, Outcome.GONE),
        (413, Outcome.FAILED),
        (429, Outcome.LATER),
        (500, Outcome.LATER),
        (503, Outcome.LATER),
    ],
)
def test_answer_of_the_push_service_decides(
    service: PushService, status: int, outcome: Outcome
) -> None:
    service.statuses["/ann"] = [status]

    assert send(service.phone("/ann")).outcome is outcome


def test_redirect_is_not_followed(service: PushService) -> None:
    service.statuses["/ann"] = [307]
    service.headers["/ann"] = {"Location": f"{service.url}/inside"}

    send(service.phone("/ann"))

    assert [each.path for each in service.pushed] == ["/ann"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("999999999", 300.0), ("-1", None), ("soon", None)],
)
def test_push_service_says_when_to_try_again(
    service: PushService, header: str, seconds: float | None
) -> None:
    service.statuses["/ann"] = [429]
    service.headers["/ann"] = {"Retry-After": header}

    assert send(service.phone("/ann")) == Result(Outcome.LATER, seconds)


def test_push_service_that_hangs_is_left_after_some_time(
    service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_service, "SEND_SECONDS", 0.3)
    service.hanging.add("/ann")
    began = monotonic()

    assert send(service.phone("/ann")).outcome is Outcome.LATER
    assert monotonic() - began < 10


def test_answer_that_comes_byte_by_byte_is_left_after_some_time(
    service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each byte comes in time; the answer as a whole never does.
    monkeypatch.setattr(push_service, "SEND_SECONDS", 0.5)
    monkeypatch.setattr(
        "http.server.BaseHTTPRequestHandler.send_response",
        lambda handler, _status: drip(handler, service),
    )
    began = monotonic()

    assert send(service.phone("/ann")).outcome is Outcome.LATER
    assert monotonic() - began < 10


def drip(handler, service: PushService) -> None:
    while not service.closed.wait(0.1):
        try:
            handler.wfile.write(b"X")
        except OSError:
            return


def test_endless_answer_is_not_read(service: PushService) -> None:
    service.bodies["/ann"] = repeat(b"x" * 65536, 1_000_000)

    assert send(service.phone("/ann")).outcome is Outcome.SENT


def test_nobody_listens(service: PushService) -> None:
    phone = Phone(service, "/ann")
    service.url = "http://127.0.0.1:9"

    assert send(phone).outcome is Outcome.LATER


def test_inner_address_is_refused_also_when_it_is_stored(service: PushService) -> None:
    assert send(service.phone("/ann"), allow_private=False).outcome is Outcome.REFUSED
    assert service.pushed == []


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 201 " + b"x" * 20_000_000, b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 3_000_000],
    ids=["an endless line", "endless headers"],
)
def test_endless_head_of_an_answer_is_not_read(
    service: PushService, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    written = []

    def pour(handler, _status: int) -> None:
        for start in range(0, len(head), 65536):
            try:
                handler.wfile.write(head[start : start + 65536])
            except OSError:
                return
            written.append(start)

    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.send_response", pour)

    assert send(service.phone("/ann")).outcome is Outcome.LATER
    assert len(written) < len(head) // 65536


class Resolver:
    """Name servers of somebody who wants to look inside.

    Attributes:
        answers: The addresses that are told, one after another.
        connected: Where connections went.
    """

    def __init__(self, *answers: str) -> None:
        self.answers = [*answers]
        self.connected: list[str] = []

    def answer(self) -> list[str]:
        return [self.answers.pop(0)]

    def create_connection(
        self, address: tuple[str, int], *_: object, **__: object
    ) -> socket.socket:
        self.connected.append(address[0])
        raise OSError("nobody is there")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    answer_for(monkeypatch, "push.example.com", resolver.answer)
    monkeypatch.setattr(socket, "create_connection", resolver.create_connection)
    return resolver


@pytest.mark.parametrize(
    "inner", ["127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"]
)
def test_nobody_connects_to_a_name_that_leads_inside(resolver: Resolver, inner: str) -> None:
    resolver.answers = [inner]

    assert send(Phone(None, "/x"), allow_private=False).outcome is Outcome.REFUSED
    assert resolver.connected == []


def test_connection_goes_to_the_address_that_was_checked(resolver: Resolver) -> None:
    resolver.answers = ["1.1.1.1", "127.0.0.1"]  # what another look would find

    assert send(Phone(None, "/x"), allow_private=False).outcome is Outcome.LATER
    assert resolver.connected == ["1.1.1.1"]
    assert resolver.answers == ["127.0.0.1"]
