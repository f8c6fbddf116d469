"""The key of a server: derived, the same everywhere, and understood by push services."""

from datetime import timedelta
from time import time

from app.clock import utcnow
from app.notifications import keys
from app.notifications.keys import ServerKey
from app.notifications.push_service import decoded
from tests.notifications.phones import claims_of

SECRET = b"a secret of the tests, not of yours"


def test_machines_with_the_same_secret_have_the_same_key() -> None:
    assert ServerKey(SECRET, None).public == ServerKey(SECRET, "mailto:a@example.com").public
    assert ServerKey(SECRET, None).public != ServerKey(SECRET + b"!", None).public
    point = decoded(ServerKey(SECRET, None).public)
    assert (len(point), point[0]) == (65, 4)  # an uncompressed point of P-256


def test_push_service_learns_who_sends() -> None:
    key = ServerKey(SECRET, "https://chat.example.com")

    claims = claims_of(key.authorization("https://push.example.com"), key.public)

    assert claims["aud"] == "https://push.example.com"
    assert claims["sub"] == "https://chat.example.com"
    assert 3600 < claims["exp"] - time() <= 24 * 3600  # RFC 8292, section 2
    assert "sub" not in claims_of(
        ServerKey(SECRET, None).authorization("https://push.example.com"), key.public
    )


def test_token_is_signed_once_for_a_push_service_until_it_ends(monkeypatch) -> None:
    key = ServerKey(SECRET, None)
    first = key.authorization("https://push.example.com")

    assert key.authorization("https://push.example.com") == first
    assert key.authorization("https://other.example.com") != first
    later = utcnow() + timedelta(hours=12)
    monkeypatch.setattr(keys, "utcnow", lambda: later)
    assert key.authorization("https://push.example.com") != first
