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

- **Log in** with `POST /accounts/api/token/`; put its `access` into "Authorize", or into the header
  `Authorization: Bearer …`. Where no token is needed it says so.
- **Bodies** are JSON. Every route takes the same fields as a form, too (urlencoded or multipart).
  Unknown keys are ignored. At most 1 MiB, 6 MiB with a picture.
- **Paths** may be written without their last slash.
- **Lists** are bare arrays, oldest first. `limit`, `before` and `after` choose a part; the `Link`
  header (RFC 8288) leads to the one before and the one after, where there is more.
- **Errors** are `application/problem+json` (RFC 9457) with a `code` for programs and a `detail` for
  people. A 400 has `errors`, and each wrong field once more at the top level. Beside what is listed
  with each operation: 405 for another method, 404 for another path, and 500 for a defect of ours.
- **Sentences** are Russian, or English where `Accept-Language` prefers it.
- **Headers** that are listed with no operation: each response has an `X-Request-ID`, the one that
  the request had, if it was a plain one. What is limited says with `X-RateLimit-Limit`,
  `-Remaining` and `-Reset` (seconds since 1970) how much is left. A 429 and a 503 have
  `Retry-After`, in seconds; a 401 has `WWW-Authenticate: Bearer`.
- **Unchanged** responses need not be sent again: where a 304 is listed, each response has an
  `ETag`, and a request with it in `If-None-Match` gets the 304 for as long as nothing is new.
- **Retries** are safe with a `client_id` or an `Idempotency-Key`: nothing is stored twice.
- **Live chat** comes by WebSockets, which OpenAPI cannot describe:
  [their page](/api/docs/websocket/) has all frames and close codes.
"""
# In the order in which people need them. Operations stand in the order of their routes.
_TAGS = {
    "sessions": "Log in and out, renew an access token, see where one is logged in.",
    "accounts": "Register, and change address, password and settings.",
    "messenger": "Rooms of two, and the messages of all rooms.",
    "chats": "The list of chats with what is unread, and marks of what is read.",
    "groups": "Rooms of many people: make one, change it, add and remove members.",
    "files": "Files in messages: send one first, then the message that names it.",
    "search": "Find messages by their words.",
    "events": "All changes of all rooms in one stream, for programs without a WebSocket.",
    "profiles": "The caller's profile, other people, and posts.",
    "social": "Friends, and people whom one has blocked.",
    "notifications": "Notify browsers of messages while no page is open (Web Push).",
    "personal": "All data of one person: take it along, or erase it.",
    "administration": "For administrators: the first one, users, invitations.",
    "media": "Pictures of people and groups.",
    "service": "The name of this service.",
    "health": "For operators: is it alive, can it serve.",
    "docs": "This description.",
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def build(app: Flask, language: str = "ru") -> Json:
    """Return the OpenAPI document of an application.

    Args:
        app: Its routes are described.
        language: Of the sentences in examples.
    """
    ranks = {name: rank for rank, name in enumerate(_TAGS)}
    rules = sorted(_documented(app), key=lambda rule: ranks[_tag_of(rule)])
    schemas = Schemas(_shapes_of(app, rules))
    paths: Json = {}
    with force_locale(language):
        for rule in rules:
            path = sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
            item = paths.setdefault(path, {})
            for method in _METHODS:
                if method in (rule.methods or ()):
                    view = app.view_functions[rule.endpoint]
                    item[method.lower()] = Operation(rule.endpoint, view, schemas).described()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Beseda", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": _tags(rules),
        "paths": paths,
        "components": {
            "schemas": {
                name: each_property(each, is_file) for name, each in schemas.used_by(paths).items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": (
                        "Send `POST /accounts/api/token/`, under *sessions*, with your name and"
                        " password, and paste the `access` of its response here. It is valid for"
                        " 15 minutes, unless the operator has set another time; after that"
                        " `POST /accounts/api/token/refresh/` gives a new one for your `refresh`."
                    ),
                }
            },
        },
    }


def _tags(rules: Iterable[Rule]) -> list[Json]:
    used = dict.fromkeys(map(_tag_of, rules))
    return [{"name": name, "description": _TAGS[name]} for name in used]


def _tag_of(rule: Rule) -> str:
    endpoint: str = rule.endpoint
    return endpoint.partition(".")[0]


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
