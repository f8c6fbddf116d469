"""Which language a sentence is said in: Russian, or English to those who prefer it.

Sentences stand in English in the code; `translations/` has the Russian ones.
"""

from pathlib import Path

from flask import Flask, g, has_request_context, request

from app.extensions import babel

LANGUAGES = ("ru", "en")


def preferred() -> str:
    """Return the language of this request's answer."""
    if not has_request_context():
        return LANGUAGES[0]
    asked = request.accept_languages.best_match(LANGUAGES)
    return asked or g.get("language") or LANGUAGES[0]  # what the caller has set: see `tokens`


def init_app(app: Flask) -> None:
    """Let an application speak both."""
    babel.init_app(
        app,
        default_locale=LANGUAGES[0],
        default_translation_directories=str(Path(__file__).parents[1] / "translations"),
        locale_selector=preferred,
    )
