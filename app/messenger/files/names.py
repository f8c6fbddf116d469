"""What a file is called: a name for people, which decides nothing."""

import unicodedata

from app.messenger.files.models import NAME_CHARS

UNNAMED = "file"


def safe_name(name: str) -> str:
    """Return the name of a file without folders and without what cannot be seen.

    Args:
        name: As a client says it.

    Returns:
        1 to `NAME_CHARS` characters. Of a longer name the end is kept, which says the kind.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    # Categories C*: control characters, those that turn the direction of writing, surrogates.
    shown = "".join(" " if _is_hidden(each) else each for each in last)
    shown = " ".join(shown.split()).strip(". ")
    if len(shown) > NAME_CHARS:
        stem, dot, extension = shown.rpartition(".")
        kept = dot + extension if stem and len(extension) <= 10 else ""
        shown = shown[: NAME_CHARS - len(kept)] + kept
    return shown or UNNAMED


def _is_hidden(character: str) -> bool:
    # The joiner of emoji, U+200D, is the one of them that names need.
    return unicodedata.category(character)[0] in "CZ" and character not in " \u200d"
