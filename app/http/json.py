"""JSON responses: UTF-8 without escapes, times as `2024-12-12T10:00:00Z`."""

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


def _plain(value: Any) -> str:
    # The only type that orjson does not know is a lazy sentence of Flask-Babel.
    return str(value)


def encode(data: Any) -> bytes:
    """Return the JSON of some data, for a body or a frame."""
    return orjson.dumps(data, default=_plain, option=_OPTIONS)


def json_response(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a JSON body."""
    return Response(encode(data), status, headers, mimetype="application/json")


class OrjsonProvider(JSONProvider):
    """Makes Flask and its extensions write JSON in the same way."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)
