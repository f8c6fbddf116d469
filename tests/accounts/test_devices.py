"""What a `User-Agent` says about a device; the examples are of real programs."""

import pytest

from app.accounts.devices import kinds_of


@pytest.mark.parametrize(
    ("client", "kinds"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            ("computer", "Firefox", "Linux"),
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
            ("computer", "Edge", "Windows"),
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like"
            " Gecko) Version/18.5 Safari/605.1.15",
            ("computer", "Safari", "macOS"),
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/141.0.0.0 Mobile Safari/537.36",
            ("phone", "Chrome", "Android"),
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/141.0.0.0 Safari/537.36",
            ("tablet", "Chrome", "Android"),
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML,"
            " like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
            ("phone", "Safari", "iOS"),
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
            " CriOS/120.0 Mobile/15E148 Safari/604.1",
            ("tablet", "Chrome", "iPadOS"),
        ),
        ("curl/8.5.0", ("program", None, None)),
        ("python-httpx/0.28.1", ("program", None, None)),
        ("Mozilla/5.0 (something new)", ("unknown", None, None)),
        ("", ("unknown", None, None)),
        ("💥" * 200, ("unknown", None, None)),
    ],
)
def test_devices_are_distinguished(client: str, kinds: tuple[str, str | None, str | None]) -> None:
    assert kinds_of(client) == kinds
