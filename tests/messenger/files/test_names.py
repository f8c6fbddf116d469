"""Names of files: what people see, and nothing that a program could follow."""

import pytest

from app.messenger.files.models import NAME_CHARS
from app.messenger.files.names import UNNAMED, safe_name


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("схема.png", "схема.png"),
        ("two  words.txt", "two words.txt"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("../..", UNNAMED),
        (".bashrc", "bashrc"),
        ("a\r\nSet-Cookie: x=y", "a Set-Cookie: x=y"),
        ("a\0b", "a b"),
        ("photo\u202egpj.exe", "photo gpj.exe"),  # would be shown as photoexe.jpg
        ("half \ud800", "half"),
        ("family 👨‍👩‍👧.jpg", "family 👨‍👩‍👧.jpg"),
        (" \t\n", UNNAMED),
        ("", UNNAMED),
    ],
)
def test_names_are_made_safe(given: str, shown: str) -> None:
    assert safe_name(given) == shown


def test_long_name_keeps_its_end() -> None:
    assert safe_name("я" * 300 + ".pdf") == "я" * (NAME_CHARS - 4) + ".pdf"
    assert safe_name("я." + "x" * 300) == ("я." + "x" * 300)[:NAME_CHARS]
