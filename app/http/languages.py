"""The language of sentences for people: Russian or English.

The first of these counts: the request's `Accept-Language`, the caller's setting, the installation's
`LANGUAGE`. The code has English sentences; `translations/` has the Russian ones.
"""

from pathlib import Path

from flask import Flask, g, has_request_context, request
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from app.extensions import babel
from app.services import services

LANGUAGES = ("ru", "en")

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


def init_app(app: Flask) -> None:
    """Set up the languages of an application."""
    babel.init_app(
        app,
        default_locale=LANGUAGES[0],
        default_translation_directories=str(Path(__file__).parents[1] / "translations"),
        locale_selector=preferred,
    )
