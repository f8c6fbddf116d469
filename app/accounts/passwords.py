"""What a password may be, and how it is kept: argon2id, off the event loop."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from app import offload
from app.accounts.names import folded

PASSWORD_CHARS_LEAST, PASSWORD_CHARS_MOST = 8, 128

# 19 MiB, two passes, one lane: the least that the OWASP Password Storage Cheat Sheet asks of
# argon2id, some 15 ms.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# What an unknown user's password is checked against, so that it takes as long. Of no password.
_NOBODYS_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


class Verdict(NamedTuple):
    """What came of checking a password."""

    ok: bool
    needs_rehash: bool


def password_problem(password: str, username: str, email: str) -> LazyString | None:
    """Return the sentence that says why a password is refused, or None if it is not."""
    if len(password) < PASSWORD_CHARS_LEAST:
        return _("A password has at least 8 characters.")
    if len(password) > PASSWORD_CHARS_MOST:
        return _("A password has at most 128 characters.")
    if password.isdecimal():
        return _("A password must not be all digits.")
    key = folded(password)
    if key in (folded(username), folded(email)):
        return _("The password must not be your name or your e-mail address.")
    if key in _commonest():
        return _("This password is among the commonest ones.")
    return None


# Passwords of 8 characters and more from the list that Django ships (R. Williams, CC0), the
# thousand commonest: shorter ones and plain numbers are refused as they are.
@cache
def _commonest() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "common_passwords.txt").read_text().split())


def hash_password(password: str) -> str:
    """Return what is stored in the place of a password."""
    return offload.run("passwords", _hasher.hash, password)


def check_password(password: str, stored_hash: str | None) -> Verdict:
    """Compare a password with what is stored, in the same time whatever the outcome.

    Args:
        password: What was typed.
        stored_hash: Of the user; None if there is no such user.

    Returns:
        Whether it is right, and whether it should be stored anew with today's parameters.
    """
    return offload.run("passwords", _check, password, stored_hash)


def _check(password: str, stored_hash: str | None) -> Verdict:
    try:
        _hasher.verify(stored_hash or _NOBODYS_HASH, password)
    except (VerificationError, InvalidHashError):
        return Verdict(ok=False, needs_rehash=False)
    return Verdict(ok=True, needs_rehash=_hasher.check_needs_rehash(stored_hash or _NOBODYS_HASH))
