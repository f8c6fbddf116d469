"""Endpoints: which are refused at once, and which when their name is looked up."""

import pytest

from app.notifications.endpoints import Endpoint, EndpointRefused
from tests.notifications.phones import answer_for

INNER = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:a00:1",
    "::127.0.0.1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
]


def literal(address: str) -> str:
    return f"https://[{address}]/x" if ":" in address else f"https://{address}/x"


@pytest.mark.parametrize(
    "url",
    [
        *map(literal, INNER),
        "http://push.example.com/x",
        "ftp://push.example.com/x",
        "https://",
        "https:///x",
        "push.example.com/x",
        "https://user:secret@push.example.com/x",
        "https://push.example.com:22/x",
        "https://push.example.com:99999/x",
        "https://push.example.com/x#y",
        "https://push.example.com/a b",
        "https://push.example.com/\r\nX: y",
        "https://пример.рф/x",
        "https://localhost/x",
        "https://LOCALHOST./x",
        "https://db.localhost/x",
        "https://printer.local/x",
        "https://vault.internal/x",
        "https://nas/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0x7f.0.0.1/x",
        "https://0177.0.0.1/x",
        "https://[::1/x",
        "https://[::ffff:127.0.0.1%25eth0]/x",
    ],
)
def test_endpoint_that_leads_inside_or_is_none_is_refused(url: str) -> None:
    with pytest.raises(EndpointRefused):
        Endpoint.parse(url, allow_private=False)


@pytest.mark.parametrize(
    ("url", "endpoint", "origin"),
    [
        (
            "https://fcm.googleapis.com/fcm/send/abc:def",
            Endpoint(True, "fcm.googleapis.com", 443, "/fcm/send/abc:def"),
            "https://fcm.googleapis.com",
        ),
        (
            "https://Push.Example.com:443?token=1",
            Endpoint(True, "push.example.com", 443, "/?token=1"),
            "https://push.example.com",
        ),
        (
            "https://[2606:4700::1111]/x",
            Endpoint(True, "2606:4700::1111", 443, "/x"),
            "https://[2606:4700::1111]",
        ),
        ("https://1.1.1.1/x", Endpoint(True, "1.1.1.1", 443, "/x"), "https://1.1.1.1"),
    ],
)
def test_endpoint_of_a_push_service_is_read(url: str, endpoint: Endpoint, origin: str) -> None:
    assert Endpoint.parse(url, allow_private=False) == endpoint
    assert endpoint.origin == origin


def test_closed_network_may_have_its_own_push_service() -> None:
    endpoint = Endpoint.parse("http://127.0.0.1:8080/x", allow_private=True)

    assert endpoint == Endpoint(False, "127.0.0.1", 8080, "/x")
    assert endpoint.origin == "http://127.0.0.1:8080"
    assert endpoint.resolve(allow_private=True) == "127.0.0.1"


@pytest.mark.parametrize("inner", INNER)
def test_name_that_stands_for_an_inner_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    # The answer of a name server that somebody else runs: a public address beside an inner one.
    answer_for(monkeypatch, "rebind.example.com", lambda: ["1.1.1.1", inner])
    endpoint = Endpoint.parse("https://rebind.example.com/x", allow_private=False)

    with pytest.raises(EndpointRefused):
        endpoint.resolve(allow_private=False)


def test_name_of_this_machine_is_refused_when_it_is_looked_up() -> None:
    endpoint = Endpoint(True, "localhost", 443, "/x")  # as some other name would be

    with pytest.raises(EndpointRefused):
        endpoint.resolve(allow_private=False)
