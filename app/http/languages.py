"""The language of sentences for people: Russian or English.

The first of these counts: the request's `Accept-Language`, the caller's setting, the installation's
`LANGUAGE`. The code has English sentences; `translations/` has the Russian ones.
"""

from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Flask, g, has_request_context, request
from flask_babel import Babel, Domain, get_locale
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from app.services import services

LANGUAGES = ("ru", "en")

_RUSSIAN = Path(__file__).parents[1] / "translations" / "ru" / "LC_MESSAGES" / "messages.po"

HEADER_CHARS = 200  # of `Accept-Language` that are read; browsers send up to about 60


def preferred() -> str:
    """Return the language of the current response; outside of a request the installation's."""
    usual = services().config.LANGUAGE
    if not has_request_context():
        return usual
    asked = _asked(request.headers.get("Accept-Language", ""), usual)
    return asked or g.get("language") or usual  # the caller's own: see `tokens`


def _asked(header: str, usual: str) -> str | None:
    # The highest quality wins. A regional tag counts as its language: `en-US,ru;q=0.5` is English.
    if not header:
        return None
    if len(header) > HEADER_CHARS:
        header = header[:HEADER_CHARS].rpartition(",")[0]
    accepted = [
        (tag.lower().partition("-")[0], quality)
        for tag, quality in parse_accept_header(header, LanguageAccept)
    ]
    named = {language for language, _ in accepted}
    for language, quality in accepted:
        if quality <= 0:
            continue
        if language in LANGUAGES:
            return language
        if language == "*":
            return next((each for each in (usual, *LANGUAGES) if each not in named), None)
    return None


class _Sentences(Domain):  # type: ignore[misc]
    """Reads the Russian sentences as they are written, so that nobody has to compile them."""

    def get_translations(self) -> NullTranslations:
        return _russian() if str(get_locale()) == "ru" else NullTranslations()


@cache
def _russian() -> Translations:
    # 15 ms, once in each process.
    with _RUSSIAN.open("rb") as file:
        sentences = read_po(file, locale="ru")
    compiled = BytesIO()
    write_mo(compiled, sentences)
    compiled.seek(0)
    return Translations(compiled)


class _Babel(Babel):  # type: ignore[misc]
    domain_instance = _Sentences()


_babel = _Babel()


def init_app(app: Flask) -> None:
    """Set up the languages of an application."""
    _babel.init_app(app, default_locale=LANGUAGES[0], locale_selector=preferred)
