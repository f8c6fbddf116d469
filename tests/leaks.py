"""Looks for secrets where none may be: in the logs of every server that the tests have started."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.factories import PASSWORD

# Beginning as every token does, `{"alg` or `{"typ` in base64; with its payload it is worth
# something even where its end is cut off.
_TOKEN = re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}")
_WORDS = {
    "a password": (PASSWORD, "another horse battery", "yourpassword"),
    "the signing key": ("a secret of the tests, not of yours",),
    "a cookie": ("beseda_access", "set-cookie", "Set-Cookie"),
    "a hash of a password": ("$argon2",),
    "an authorization": ("Bearer ", "bearer, "),
}

_remembered: set[str] = set()


def remember(secret: str) -> str:
    """Look for a secret too that looks like nothing special, such as a one-time token; return it."""
    _remembered.add(secret)
    return secret


def leaks_in(text: str) -> Iterator[str]:
    """Name what a log says that it must not, with its line.

    Args:
        text: A log.
    """
    for line in text.splitlines():
        for what, words in _WORDS.items():
            if any(word in line for word in words):
                yield f"{what}: {line}"
        if _TOKEN.search(line):
            yield f"a token: {line}"
        if any(secret in line for secret in _remembered):
            yield f"a secret that was to be remembered: {line}"


def leaks_of(log: Path) -> list[str]:
    """Return what a log says that it must not; one that was never begun says nothing."""
    return list(leaks_in(log.read_text(errors="replace"))) if log.exists() else []
