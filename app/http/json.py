"""How an answer is written: UTF-8 JSON, non-ASCII as itself, times as `2024-12-12T10:00:00Z`."""

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


def _plain(value: Any) -> str:
    # What orjson does not know is a lazy sentence of Flask-Babel.
    return str(value)


def encode(data: Any) -> bytes:
    """Return data as the JSON bytes of a body or a frame."""
    return orjson.dumps(data, default=_plain, option=_OPTIONS)


def json_response(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with data as JSON."""
    return Response(encode(data), status, headers, mimetype="application/json")


class OrjsonProvider(JSONProvider):
    """Writes what Flask and its extensions put into JSON the way we do."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)
