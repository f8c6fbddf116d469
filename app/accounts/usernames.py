"""What a username and an e-mail address may be, and when two of them are the same."""

import unicodedata
from collections.abc import Iterator
from itertools import count

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from flask_babel import lazy_gettext as _

from app.accounts.models import EMAIL_CHARS, USERNAME_CHARS
from app.http.fields import RefusedField

# Domains of private networks, in which a team's mail server may well be. The README of
# email_validator (2.3) says to change its list like this.
for _domain in ("arpa", "local", "localhost", "test"):
    if _domain in SPECIAL_USE_DOMAIN_NAMES:
        SPECIAL_USE_DOMAIN_NAMES.remove(_domain)

_SYMBOLS = frozenset("@.+-_")  # as Django permits; no `~`, which tells rooms of one name apart
# Scripts whose letters look like each other's: `а` (Cyrillic), `a` (Latin), `α` (Greek), and the
# lesser ones that borrowed from them.
_LOOK_ALIKES = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
# Letters that lose their dot to a mark above them: another dot there puts it back, and the name
# looks like the one without it (Soft_Dotted in Unicode's tables).
_DOTTED = frozenset("ijįɉɨʝϳіјḭị")
_DOT_ABOVE = "\u0307"
# Letters and marks that show nothing (RFC 8264, 9.13; Default_Ignorable_Code_Point in Unicode's
# tables): with one of them at its end, a name looks like somebody else's.
_INVISIBLE = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)


def normal_username(raw: str) -> str:
    """Return a username as it is stored: trimmed, and in Unicode's form NFKC.

    Raises:
        RefusedField: It is empty, too long, has a character that a name may not have, or
            mixes scripts that look alike.
    """
    name = unicodedata.normalize("NFKC", raw.strip())
    if not 1 <= len(name) <= USERNAME_CHARS:
        raise RefusedField(_("A username has 1 to 150 characters."))
    after_letter = False
    previous = ""
    for character in name:
        category = unicodedata.category(character)
        is_mark = category.startswith("M")
        if character in _INVISIBLE or not (
            category.startswith("L")
            or (is_mark and after_letter and not (character == _DOT_ABOVE and previous in _DOTTED))
            or category == "Nd"
            or character in _SYMBOLS
        ):
            raise RefusedField(_("A username has only letters, digits and @ . + - _."))
        after_letter = is_mark or category.startswith("L")
        previous = character
    if len(_scripts(name)) > 1:
        raise RefusedField(
            _("Latin, Cyrillic and Greek letters look alike; a username has only one of them.")
        )
    return name


def _scripts(name: str) -> set[str]:
    # The name of a letter begins with its script (Unicode Standard, section 4.8).
    names = (unicodedata.name(each, "") for each in name if each.isalpha())
    return {script for each in names for script in _LOOK_ALIKES if each.startswith(script)}


def folded(name: str) -> str:
    """Return the key under which a username or an e-mail address is unique, whatever its case.

    It is its own key: folding can take a text out of its normal form, which therefore comes
    again (Unicode Standard, 3.13, D146). Of a username it is up to three times as long.
    """
    normal = unicodedata.normalize("NFKC", name).strip()
    return unicodedata.normalize("NFKC", normal.casefold())


def room_name(one: str, other: str) -> str:
    """Return what the room of two users is called, whoever of them asks."""
    return "_".join(sorted((one, other), key=folded))


def room_names(one: str, other: str) -> Iterator[str]:
    """Yield the names that the room of two users may have, the best one first.

    `_` may stand in a username, so another pair may have that one for its room; `~` may not.
    """
    best = room_name(one, other)
    yield best
    for copy in count(2):
        yield f"{best}~{copy}"


def erased_username(user_id: int) -> str:
    """Return the username of who has erased their account. `~` keeps it from being taken."""
    return f"deleted~{user_id}"


def normal_email(raw: str) -> str:
    """Return an e-mail address as it is stored.

    Raises:
        RefusedField: It is none, or longer than 254 characters (RFC 5321, 4.5.3.1.3).
    """
    try:
        # Nothing is looked up: the mail server of a team need not be on the internet. A domain
        # without a dot is a typing error more often than a machine of one's own.
        valid = validate_email(raw.strip(), check_deliverability=False)
    except EmailNotValidError:
        raise RefusedField(_("This is not an e-mail address.")) from None
    # One character can fold to eighteen (U+FDFA), and the key has to be stored as well. The
    # address itself is no longer than that: validate_email has seen to it.
    if len(folded(valid.normalized)) > EMAIL_CHARS:
        raise RefusedField(_("This is not an e-mail address."))
    return valid.normalized
