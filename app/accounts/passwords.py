"""What a password may be, and how it is kept: argon2id, off the event loop."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from flask_babel import lazy_gettext as _

from app import offload
from app.accounts.names import folded
from app.validation import RefusedField

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


def strong_password(password: str) -> str:
    """Return a password as it is.

    Raises:
        RefusedField: It is too short, too long, all digits, or among the commonest.
    """
    if len(password) < PASSWORD_CHARS_LEAST:
        raise RefusedField(_("A password has at least 8 characters."))
    if len(password) > PASSWORD_CHARS_MOST:
        raise RefusedField(_("A password has at most 128 characters."))
    if password.isdecimal():
        raise RefusedField(_("A password must not be all digits."))
    if folded(password) in _commonest():
        raise RefusedField(_("This password is among the commonest ones."))
    return password


# The first thousand of the list by Royce Williams that Django ships. Many are refused as they are,
# being short or plain numbers.
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
    except (VerificationError, ValueError):  # the latter if what is stored is no hash at all
        return Verdict(ok=False, needs_rehash=False)
    return Verdict(ok=True, needs_rehash=_hasher.check_needs_rehash(stored_hash or _NOBODYS_HASH))
