"""Where a request comes from: by what one household has, whatever a proxy writes."""

import pytest
from flask import Flask

from app.http.addresses import UNKNOWN, client_address, client_network


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1:49152", "192.0.2.1:49153", True),
        ("192.0.2.1:49152", "192.0.2.1", True),
        ("192.0.2.1:49152", "192.0.2.2:49152", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("[2001:db8:1:2::1]:1", "[2001:db8:1:2::2]:2", True),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("2001:db8:1:2::1", "2001:db9:1:2::1", False),
        ("2002:c000:201:1::1", "2002:c000:201:2::1", True),
        ("2002:c000:201::1", "2002:c000:202::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unknown", "_hidden", True),
        ("a/b/c", "a/b/d", True),
        ("x" * 9000, "y", True),
        (None, "", True),
    ],
)
def test_counts_by_what_one_household_has(one: str, other: str, is_same: bool) -> None:
    found = []
    for address in (one, other):
        with Flask(__name__).test_request_context(environ_base={"REMOTE_ADDR": address}):
            found.append(client_network())

    assert (found[0] == found[1]) is is_same
    assert all("/" not in each and len(each) <= 64 for each in found)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("192.0.2.7:49152", "192.0.2.7"),
        ("[2001:db8::1]:49152", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("<script>", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_shows_the_address_without_its_port(told: str, shown: str) -> None:
    with Flask(__name__).test_request_context(environ_base={"REMOTE_ADDR": told}):
        assert client_address() == shown
