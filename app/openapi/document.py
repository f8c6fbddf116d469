"""Makes the OpenAPI document of what the routes note: the same things that check a request.

`app.http.annotations` has the notes. What `takes`, `login_required` or `limited` imply for every
route that they guard follows in `operation.py`; pydantic says what bodies look like, and errors
are rendered by their own classes.
"""

from collections.abc import Iterable
from re import sub

from flask import Flask
from flask_babel import force_locale
from werkzeug.routing import Rule

from app.http.annotations import notes_of
from app.openapi.operation import Operation
from app.openapi.schemas import Json, Schemas, each_property, is_file

VERSION = "1.0.0"  # of the API: the first number changes with what breaks clients

_ABOUT = """\
Accounts, profiles, friends, posts and live chat.

- **Bodies** are JSON or form fields; unknown keys are ignored. At most 1 MiB, 6 MiB with a picture.
- **Paths** may be written without their last slash.
- **Lists** are bare arrays, oldest first. `limit`, `before` and `after` choose a part; the `Link`
  header (RFC 8288) leads to the one before and the one after, where there is more.
- **Errors** are `application/problem+json` (RFC 9457) with a `code` for programs and a `detail` for
  people. A 400 has `errors`, and each wrong field once more at the top level. Beside what is listed
  with each operation: 405 for another method, 404 for another path, and 500 for a defect of ours.
- **Sentences** are Russian, or English where `Accept-Language` prefers it.
- **Retries** are safe with a `client_id` or an `Idempotency-Key`: nothing is stored twice.
- **Live chat** is a WebSocket, `/messenger/ws/ws/chat/<room_name>/`, which OpenAPI cannot describe;
  `docs/websocket.md` does.
"""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

_HEADERS: Json = {
    "X-Request-ID": {
        "description": "Names this request in the server's log.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which it may work.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Limit": {
        "description": "How often this may be done.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-RateLimit-Remaining": {
        "description": "How often it still may.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Reset": {
        "description": "Until when, in seconds since 1970.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "What kind of token is expected.",
        "required": True,
        "schema": {"const": "Bearer"},
    },
}
_PARAMETERS: Json = {
    "Accept-Language": {
        "name": "Accept-Language",
        "in": "header",
        "description": "The language of sentences for people: Russian, or English (`en`).",
        "schema": {"type": "string"},
        "example": "ru",
    },
    "X-Request-ID": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "Becomes the id of this request if it is a plain one"
        " (up to 128 of `A-Z a-z 0-9 . _ -`).",
        "schema": {"type": "string"},
    },
}


def build(app: Flask) -> Json:
    """Return the OpenAPI document of an application."""
    rules = sorted(_documented(app), key=lambda rule: rule.rule)
    schemas = Schemas(_shapes_of(app, rules))
    paths: Json = {}
    with force_locale("ru"):
        for rule in rules:
            path = sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
            item = paths.setdefault(
                path,
                {"parameters": [{"$ref": f"#/components/parameters/{n}"} for n in _PARAMETERS]},
            )
            for method in _METHODS:
                if method in (rule.methods or ()):
                    view = app.view_functions[rule.endpoint]
                    item[method.lower()] = Operation(rule.endpoint, view, schemas).described()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Beseda", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: each_property(each, is_file) for name, each in schemas.named.items()},
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _documented(app: Flask) -> Iterable[Rule]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if not rule.websocket and notes_of(view).undocumented is None:
            yield rule


def _shapes_of(app: Flask, rules: Iterable[Rule]) -> Iterable[object]:
    for rule in rules:
        notes = notes_of(app.view_functions[rule.endpoint])
        yield from notes.inputs.values()
        if notes.output and notes.output[1].shape is not None:
            yield notes.output[1].shape
