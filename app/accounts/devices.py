"""Guesses browser and system from a `User-Agent`.

The list of sessions shows it ("Firefox, Linux"). A client can send any text, so nothing else
depends on it.
"""

import re
from typing import Literal, NamedTuple

Kind = Literal["computer", "phone", "tablet", "program", "unknown"]

# The first match counts. Browsers also name the browsers that they are built on: Edge names Chrome
# and Safari, Chrome names Safari.
_BROWSERS = (
    ("Edge", r"Edg(e|A|iOS)?/"),
    ("Opera", r"OPR/|Opera"),
    ("Yandex Browser", r"YaBrowser/"),
    ("Samsung Internet", r"SamsungBrowser/"),
    ("Firefox", r"Firefox/|FxiOS/"),
    ("Chrome", r"Chrome/|CriOS/|Chromium/"),
    ("Safari", r"Version/[\d.]+ .*Safari/"),
)
_SYSTEMS = (
    ("Android", r"Android"),
    ("iOS", r"iPhone|iPod"),
    ("iPadOS", r"iPad"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Linux", r"Linux|X11"),
)
_PROGRAM = re.compile(r"[A-Za-z][\w .-]*(/[\w.-]+)?")


class Kinds(NamedTuple):
    """A device; None where the client does not tell."""

    kind: Kind
    browser: str | None
    system: str | None


def kinds_of(client: str) -> Kinds:
    """Return what a `User-Agent` says about a device."""
    system = _first(_SYSTEMS, client)
    if not client.startswith(("Mozilla/", "Opera/")):
        return Kinds("program" if _PROGRAM.match(client) else "unknown", None, system)
    browser = _first(_BROWSERS, client)
    if system is None:
        return Kinds("unknown", browser, None)
    kind: Kind = "computer"
    if system == "iPadOS" or "Tablet" in client or (system == "Android" and "Mobile" not in client):
        kind = "tablet"
    elif system in ("Android", "iOS"):
        kind = "phone"
    return Kinds(kind, browser, system)


def _first(names: tuple[tuple[str, str], ...], client: str) -> str | None:
    return next((name for name, pattern in names if re.search(pattern, client)), None)
