"""Checks and hashes passwords with argon2id, off the event loop.

Hashes made by Django are accepted as well, so imported users keep their passwords. The first login
replaces such a hash with one of ours.
"""

import hmac
import unicodedata
from base64 import b64decode
from collections.abc import Sequence
from functools import cache
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import NamedTuple

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerificationError
from flask_babel import lazy_gettext as _

from app import threads
from app.accounts.usernames import folded
from app.http.fields import RefusedField

PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 8, 128

OWN_NAME = _("The password must not be your name or your e-mail address.")

# 19 MiB, two passes, one lane: the minimum for argon2id in the OWASP Password Storage Cheat Sheet.
# It takes about 15 ms.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# A hash that matches no password. The password of an unknown user is checked against it, so that
# this check takes as long as any other.
_NOBODYS_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

# How hashes of Django begin; `argon2` is followed by the usual encoding.
_PBKDF2 = "pbkdf2_sha256$"
_DJANGOS_ARGON2 = "argon2$"
UNUSABLE = "!"  # matches no password, as in Django

# Limits of the cost of one check, so that an imported hash does not stall the logins queued behind
# it. About 1 s, two to three times the default of Django 5.2.
PBKDF2_ITERATIONS_MAX = 3_000_000
ARGON2_KIB_MAX = 256 * 1024
ARGON2_KIB_PASSES_MAX = 1024 * 1024  # memory times passes is what takes time: 0.5 s
ARGON2_LANES_MAX = 16  # each is a thread


class Verdict(NamedTuple):
    """The result of checking a password."""

    ok: bool
    needs_rehash: bool


def strong_password(password: str) -> str:
    """Return a password unchanged if it is strong enough.

    Raises:
        RefusedField: It is too short, too long, all digits, or among the commonest.
    """
    if len(password) < PASSWORD_CHARS_MIN:
        raise RefusedField(_("A password has at least 8 characters."))
    if len(password) > PASSWORD_CHARS_MAX:
        raise RefusedField(_("A password has at most 128 characters."))
    if password.isdecimal():
        raise RefusedField(_("A password must not be all digits."))
    typed = folded(password)
    if {typed, typed.translate(_LATIN_KEYS)} & _common_passwords():
        raise RefusedField(_("This password is among the commonest ones."))
    return password


# A password that is common on a Latin keyboard is common on a Russian one too: `йцукенгш`.
_LATIN_KEYS = str.maketrans("йцукенгшщзхъфывапролджэячсмитьбю", "qwertyuiop[]asdfghjkl;'zxcvbnm,.")


# The 7,925 of the list by Royce Williams that Django ships (BSD) that no other rule refuses: most
# are short or have only digits. OWASP ASVS 5.0, 6.2.4, asks for 3,000.
@cache
def _common_passwords() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "common_passwords.txt").read_text().split())


def is_own_name(password: str, username: str, email: str) -> bool:
    """Tell whether a password equals its owner's name or address."""
    return folded(password) in (folded(username), folded(email))


def hash_password(password: str) -> str:
    """Return the hash of a password."""
    return threads.run("passwords", _hasher.hash, _forms(password)[0])


def _forms(password: str) -> Sequence[str]:
    """Return the Unicode forms in which a password may have been hashed, the present one first.

    A keyboard may send `й` as one character or as two (Unicode Standard, section 3.11). New hashes
    are made of NFC; older ones may be made of the password as it was typed.
    """
    if password.isascii() or len(password) > 4 * PASSWORD_CHARS_MAX:
        return (password,)  # too long to be right; normalizing it would take quadratic time
    nfc, nfd = (unicodedata.normalize(form, password) for form in ("NFC", "NFD"))
    return tuple(dict.fromkeys((nfc, password, nfd)))


def check_password(password: str, stored_hash: str | None) -> Verdict:
    """Check a password against the stored hash. The time does not depend on the outcome.

    Args:
        password: The password as it was typed.
        stored_hash: The user's hash; None if there is no such user.

    Returns:
        Whether it is right, and whether it should be hashed again with the present parameters.
    """
    for position, form in enumerate(_forms(password)):
        verdict = threads.run("passwords", _check, form, stored_hash)
        if verdict.ok:
            return verdict._replace(needs_rehash=verdict.needs_rehash or position > 0)
    return verdict


def hash_of_django(encoded: str) -> str:
    """Return a password hash of Django unchanged if `check_password` accepts it.

    Raises:
        RefusedField: It is not such a hash. The sentence is for operators, in English only.
    """
    if encoded.startswith(UNUSABLE):
        return UNUSABLE
    try:
        if encoded.startswith(_PBKDF2):
            _Pbkdf2.parse(encoded)
        elif encoded.startswith(_DJANGOS_ARGON2):
            _check_effort(encoded.removeprefix("argon2"))
        else:
            raise RefusedField(
                "This is not a hash of Django's pbkdf2_sha256 or argon2; no others are accepted."
            )
    except RefusedField:
        raise
    except ValueError:
        raise RefusedField("This hash is broken.") from None
    return encoded


class _Pbkdf2(NamedTuple):
    """`pbkdf2_sha256$<iterations>$<salt>$<digest>`.

    Source: PBKDF2PasswordHasher in django/contrib/auth/hashers.py; RFC 8018, section 5.2.
    """

    iterations: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, encoded: str) -> "_Pbkdf2":
        """Parse an encoded hash.

        Raises:
            RefusedField: Checking it would take too long.
            ValueError: It is not such a hash.
        """
        iterations, salt, digest = encoded.removeprefix(_PBKDF2).split("$")
        parsed = cls(int(iterations), salt.encode(), b64decode(digest, validate=True))
        if parsed.iterations < 1 or not salt or len(parsed.digest) != 32:
            raise ValueError
        if parsed.iterations > PBKDF2_ITERATIONS_MAX:
            raise RefusedField(
                f"This hash takes more than {PBKDF2_ITERATIONS_MAX} iterations to check."
            )
        return parsed

    def matches(self, password: str) -> bool:
        computed = pbkdf2_hmac("sha256", password.encode(), self.salt, self.iterations)
        return hmac.compare_digest(computed, self.digest)


def _check_effort(encoded: str) -> None:
    found = extract_parameters(encoded)
    if min(found.time_cost, found.parallelism) < 1 or found.memory_cost < 8 * found.parallelism:
        raise ValueError("no password fits it (RFC 9106, section 3.1)")
    if (
        found.memory_cost > ARGON2_KIB_MAX
        or found.memory_cost * found.time_cost > ARGON2_KIB_PASSES_MAX
        or found.parallelism > ARGON2_LANES_MAX
    ):
        raise RefusedField("This hash takes too much memory or time to check.")


def _check(password: str, stored_hash: str | None) -> Verdict:
    stored = stored_hash or _NOBODYS_HASH
    if not stored.startswith((_PBKDF2, _DJANGOS_ARGON2, "$argon2")):
        stored = _NOBODYS_HASH  # the time must not tell that this user cannot log in
    try:
        if stored.startswith(_PBKDF2):
            ok = _Pbkdf2.parse(stored).matches(password)
            return Verdict(ok, needs_rehash=ok)
        encoded = stored.removeprefix("argon2")
        _check_effort(encoded)
        _hasher.verify(encoded, password)
    except (VerificationError, ValueError):  # ValueError: no hash, or too costly
        return Verdict(ok=False, needs_rehash=False)
    is_ours = stored.startswith("$")
    return Verdict(ok=True, needs_rehash=not is_ours or _hasher.check_needs_rehash(stored))
