"""The rules for usernames and e-mail addresses, and when two of them count as the same."""

import unicodedata
from collections.abc import Iterator
from itertools import count

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from flask_babel import lazy_gettext as _

from app.accounts.models import EMAIL_CHARS, USERNAME_CHARS
from app.http.fields import RefusedField

# Domains of private networks, where the mail server of a team may be. The README of
# email_validator (2.3) documents this way to change its list.
for _domain in ("arpa", "local", "localhost", "test"):
    if _domain in SPECIAL_USE_DOMAIN_NAMES:
        SPECIAL_USE_DOMAIN_NAMES.remove(_domain)

_SYMBOLS = frozenset("@.+-_")  # as in Django; `~` is kept for the names of rooms
# Scripts that are written together (UTS 39, section 5.2: "highly restrictive"). All others stay
# among themselves, because letters of two scripts look alike: `а` (Cyrillic) and `a` (Latin).
_TOGETHER = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA"},
    {"LATIN", "CJK", "BOPOMOFO"},
    {"LATIN", "CJK", "HANGUL"},
)
# The script of a character by the first word of its name (Unicode Standard, section 4.8), where
# the two differ; None: those that go with every script.
_SCRIPTS = {
    **dict.fromkeys(("COMBINING", "DIGIT", "MODIFIER", "VEDIC", "KATAKANA-HIRAGANA", "")),
    "IDEOGRAPHIC": "CJK",
    "ARABIC-INDIC": "ARABIC",
    "EXTENDED": "ARABIC",
}
# Marks that go with every script, on one letter. People need two (`ễ` without its own code point);
# ten of them cover the lines above and below.
_COMBINING_MAX = 2
_MARKS_MAX = 4  # on one letter, of its own script as well (UTS 39, section 5.4)
# Letters whose dot a mark above them replaces: `i` with a combining dot above looks like plain `i`
# (property Soft_Dotted of Unicode).
_DOTTED = frozenset("ijįɉɨʝϳіјḭị")
_DOT_ABOVE = "\u0307"
# Invisible letters and marks (RFC 8264, section 9.13; property Default_Ignorable_Code_Point of
# Unicode): a name with one of them looks like the name without it.
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
    """Return a username as it is stored: trimmed, in the Unicode form NFKC.

    Raises:
        RefusedField: It is empty or too long, has a character that is not allowed, too many marks
            on a letter, or letters of two scripts.
    """
    name = unicodedata.normalize("NFKC", raw.strip())
    if not 1 <= len(name) <= USERNAME_CHARS:
        raise RefusedField(_("A username has 1 to 150 characters."))
    marks: str | None = None  # those of the letter before; None: there is none
    previous = ""
    for character in name:
        category = unicodedata.category(character)
        if category.startswith("M") and marks is not None:
            marks += character
            is_allowed = not (character == _DOT_ABOVE and previous in _DOTTED)
        else:
            marks = "" if category.startswith("L") else None
            is_allowed = marks is not None or category == "Nd" or character in _SYMBOLS
        if character in _INVISIBLE or not is_allowed:
            raise RefusedField(_("A username has only letters, digits and @ . + - _."))
        if marks and not _are_few(marks):
            raise RefusedField(_("A letter of a username has too many marks."))
        previous = character
    scripts = {_script(each) for each in name if each not in _SYMBOLS} - {None}
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        raise RefusedField(
            _("Letters of two scripts, such as Latin and Cyrillic, look alike; use one of them.")
        )
    return name


def _are_few(marks: str) -> bool:
    combining = sum(_script(mark) is None for mark in marks)
    return combining <= _COMBINING_MAX and len(marks) <= _MARKS_MAX


def _script(character: str) -> str | None:
    first = unicodedata.name(character, "").partition(" ")[0]
    return _SCRIPTS.get(first, first)


def folded(name: str) -> str:
    """Return the key of a username or an e-mail address: the same for every spelling of its case.

    The text is normalized again after folding, because folding can undo the normal form (Unicode
    Standard, section 3.13, D146); so the key of a key is that key. The key of a username is up to
    three times as long as the name.
    """
    normal = unicodedata.normalize("NFKC", name).strip()
    return unicodedata.normalize("NFKC", normal.casefold())


def room_name(one: str, other: str) -> str:
    """Return the name of the room of two users, in whichever order they are given."""
    return "_".join(sorted((one, other), key=folded))


def room_names(one: str, other: str) -> Iterator[str]:
    """Yield the names that the room of two users may have, the best one first.

    The first one joins the usernames by `_`. Usernames may contain `_`, so it can be taken by
    another pair; the others have a `~`, which no username contains.
    """
    best = room_name(one, other)
    yield best
    for copy in count(2):
        yield f"{best}~{copy}"


def erased_username(user_id: int) -> str:
    """Return the username of an erased account. Nobody can register it, because of the `~`."""
    return f"deleted~{user_id}"


def normal_email(raw: str) -> str:
    """Return an e-mail address as it is stored.

    Raises:
        RefusedField: It is not an address, or longer than 254 characters (RFC 5321, 4.5.3.1.3).
    """
    try:
        # No DNS lookup: the mail server of a team need not be on the internet. A domain without a
        # dot is refused, because it is more often a typing error than the name of a machine.
        valid = validate_email(raw.strip(), check_deliverability=False)
    except EmailNotValidError:
        raise RefusedField(_("This is not an e-mail address.")) from None
    # One character can fold to eighteen (U+FDFA), and the key has to fit its column.
    # validate_email has checked the length of the address.
    if len(folded(valid.normalized)) > EMAIL_CHARS:
        raise RefusedField(_("This is not an e-mail address."))
    return valid.normalized
