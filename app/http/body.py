"""Reads the bodies of requests: JSON, or the fields and files of a form.

Anybody can send any body, so the work here takes linear time, and sizes are checked first.
"""

import json
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qsl

import orjson
from flask import Request, current_app
from flask_babel import lazy_gettext as _
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.http import parse_options_header

from app.http.errors import NON_FIELD, BadInput, Overloaded

FIELDS_MAX = 100  # of a form; no route takes more than ten
IN_MEMORY_BYTES = 64 * 1024  # of a body that has not come to its end
PART_HEAD_BYTES = 2048  # the headers of one part of a multipart form

_NO_JSON = _("This is not valid JSON.")
_NO_UTF8 = _("This is not UTF-8.")
NO_MULTIPART = _("This is not a valid multipart/form-data body.")


def body_of(request: Request) -> Any:
    """Return the decoded body of a request: JSON, or form fields with their files.

    Raises:
        BadInput: The body is not valid JSON, not a valid form, or not UTF-8.
        UnsupportedMediaType: It is neither JSON nor a form.
        RequestEntityTooLarge: It is larger than this route allows, or has too many fields.
    """
    if request.is_json:
        return decode_json(_raw_body(request))
    if request.mimetype == "application/x-www-form-urlencoded":
        return _decode_form(_raw_body(request))
    if request.mimetype == "multipart/form-data":
        return _decode_multipart(_raw_body(request), request.mimetype_params.get("boundary", ""))
    if not request.mimetype and not _raw_body(request):
        return {}
    raise UnsupportedMediaType


def decode_json(raw: bytes | str) -> Any:
    """Parse a JSON text.

    Raises:
        BadInput: It is not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    # orjson refuses the whole text because of one lone surrogate (`"\ud800"`) or huge number. The
    # standard library accepts them, so that the error can name the field.
    try:
        return json.loads(
            raw if isinstance(raw, str) else raw.decode(), parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise BadInput({NON_FIELD: [_NO_JSON]}) from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _raw_body(request: Request) -> bytes:
    length = request.content_length
    is_small = length is not None and length <= IN_MEMORY_BYTES
    raw = request.get_data(cache=False) if is_small else _whole(request.stream)
    # If a body has no Content-Length, Werkzeug reads as much as is allowed and does not tell
    # whether there was more.
    limit = request.max_content_length
    if length is None and limit is not None and len(raw) >= limit:
        raise RequestEntityTooLarge
    return raw


def _whole(stream: IO[bytes]) -> bytes:
    # On the disk until it is whole: two hundred who send a picture, and never the end of it, would
    # take a gigabyte of memory.
    folder: Path = current_app.config["BODIES_FOLDER"]
    where = str(folder) if folder.is_dir() else None
    with SpooledTemporaryFile(IN_MEMORY_BYTES, dir=where) as waiting:
        while piece := stream.read(IN_MEMORY_BYTES):
            try:
                waiting.write(piece)
            except OSError as error:  # the disk is full
                raise Overloaded from error
        waiting.seek(0)
        return waiting.read()


def _decode_form(raw: bytes) -> dict[str, str]:
    # As in Django, the last of several fields with the same name counts. Bytes that are not UTF-8
    # become lone surrogates, which the field refuses.
    form = raw.decode(errors="surrogateescape")
    try:
        fields = parse_qsl(
            form, keep_blank_values=True, errors="surrogateescape", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise RequestEntityTooLarge from None
    return dict(fields)


def _decode_multipart(raw: bytes, boundary: str) -> dict[str, str | FileStorage]:
    """Parse a form with files (RFC 7578).

    Werkzeug's parser replaces bytes that are not UTF-8, and reads a body without its boundary as an
    empty form; here both are errors.
    """
    if not boundary:
        raise BadInput({NON_FIELD: [NO_MULTIPART]})
    # The first boundary may stand at the very beginning, without a line break before it.
    delimiter = b"\r\n--" + boundary.encode()
    _preamble, *parts = (b"\r\n" + raw).split(delimiter, FIELDS_MAX + 2)
    # Two hyphens follow the last boundary; what comes after them is ignored.
    end = next((index for index, part in enumerate(parts) if part.startswith(b"--")), None)
    if end is None and len(parts) > FIELDS_MAX:
        raise RequestEntityTooLarge
    if end is None:
        raise BadInput({NON_FIELD: [NO_MULTIPART]})
    form: dict[str, str | FileStorage] = {}
    broken = {}
    for part in parts[:end]:
        name, filename, content = _decode_part(part)
        if filename is None:
            try:
                form[name] = content.decode()
            except UnicodeDecodeError:
                broken[name] = [_NO_UTF8]
        elif filename:  # an empty name: the file input was left empty
            form[name] = FileStorage(BytesIO(content), filename, name)
    if broken:
        raise BadInput(broken)
    return form


def _decode_part(part: bytes) -> tuple[str, str | None, bytes]:
    head, found, content = part.partition(b"\r\n\r\n")
    if not found or len(head) > PART_HEAD_BYTES:
        raise BadInput({NON_FIELD: [NO_MULTIPART]})
    for line in head.decode(errors="replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() == "content-disposition":
            kind, options = parse_options_header(value)
            if kind == "form-data" and "name" in options:
                return options["name"], options.get("filename"), content
    raise BadInput({NON_FIELD: [NO_MULTIPART]})
