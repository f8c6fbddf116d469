"""`/messenger/api/uploads/` and `/messenger/api/files/`: files of messages."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from app.accounts.cookies import files_token_of
from app.accounts.tokens import bearer_token, current_user, login_required, login_required_by
from app.http.annotations import (
    documents_error,
    documents_header,
    documents_path,
    documents_response,
    returns,
    takes_file,
)
from app.http.conditional import has_validator
from app.http.errors import Overloaded
from app.http.form_files import FORM_BYTES, file_of_form
from app.http.json import json_response
from app.http.validation import takes
from app.limits.rules import consume_file, limited
from app.messenger.files import access
from app.messenger.files.access import FileInUse, FileNotFound, StoredFile
from app.messenger.files.pacing import paced
from app.messenger.files.schemas import FileOut, SizeIn, UploadIn
from app.messenger.files.uploads import (
    FilesUnavailable,
    FileTooLarge,
    QuotaExceeded,
    room_for_file,
    store_file,
)
from app.services import services

bp = Blueprint("files", __name__, url_prefix="/messenger/api")

YEAR_SECONDS = 31_536_000

_FILE_ID: dict[str, Any] = {"name": "file_id", "sentence": "The `id` of a file.", "example": "5f0c"}
_BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}


@bp.post("/uploads/")
@login_required
@limited("uploads")
@takes_file(UploadIn)
@returns(FileOut, 201)
@documents_error(FileTooLarge, QuotaExceeded, FilesUnavailable, Overloaded)
def upload_file() -> Response:
    """Send a file, for a message that names it within a day.

    The type is told by the content. A picture is encoded anew, without its metadata.
    """
    max_bytes = services().config.UPLOAD_BYTES
    length = request.content_length
    if length is not None and length > max_bytes + FORM_BYTES:
        raise FileTooLarge
    consume_file(current_user.id, max_bytes if length is None else length)
    with room_for_file(current_user.id, length) as upload_id:
        try:
            name, pieces = file_of_form(request, "file", max_bytes)
            return json_response(store_file(upload_id, name, pieces), 201)
        except RequestEntityTooLarge:
            raise FileTooLarge from None


@bp.get("/files/<file_id>/")
@login_required_by(lambda: bearer_token(request.headers) or files_token_of(request))
@takes(SizeIn, "query")
@documents_path(**_FILE_ID)
@documents_response(200, "The file.", _BYTES)
@documents_response(206, "A part of the file, as `Range` asks for.", _BYTES)
@has_validator
@documents_header("Content-Range", "Which part it is, in a 206.")
@documents_header("Cross-Origin-Resource-Policy", "`same-origin`: no other site may show it.")
@documents_header("Accept-Ranges", "`bytes`: one range may be asked for.")
@documents_error(FileNotFound, FilesUnavailable)
def show_file(file_id: str, query: SizeIn) -> Response:
    """Get a file of a message that the caller may read, or of their own before it has one.

    A cookie that `accounts/api/token/` sets for pages opens it as well, for reading alone.
    """
    file = access.find_file(file_id, current_user.id, small=query.size == "small")
    response = Response(mimetype=file.type)
    response.set_etag(file.key)
    # Werkzeug says what is wanted: the file, a part of it (RFC 9110, section 14), or nothing.
    may_be_part = not _asks_for_more_than_all(file.size)
    response.make_conditional(request, accept_ranges=may_be_part, complete_length=file.size)
    if response.status_code in (200, 206):
        start, stop = _part(response, file.size)
        response.content_length = stop - start
        if request.method != "HEAD":
            response.response = _content(file, start, stop)
    _set_headers(response, file)
    return response


def _asks_for_more_than_all(size: int) -> bool:
    # The last so many bytes of a file that has less are all of it; Werkzeug (3.1) refuses that.
    ranges = request.range.ranges if request.range else ()
    return len(ranges) == 1 and ranges[0][0] is not None and ranges[0][0] < -size


def _part(response: Response, size: int) -> tuple[int, int]:
    part = response.content_range
    if response.status_code == 200 or part.start is None or part.stop is None:
        return 0, size
    return part.start, part.stop


def _content(file: StoredFile, start: int, stop: int) -> Iterator[bytes]:
    try:
        return paced(services().files.read(file.key, start, stop - start))
    except FileNotFoundError:
        raise FileNotFound from None
    except OSError as error:
        raise FilesUnavailable from error


def _set_headers(response: Response, file: StoredFile) -> None:
    kind = "inline" if file.is_inline else "attachment"
    # RFC 6266, appendix D: the first name for programs that do not know the second.
    plain = re.sub(r"[^ !#-\[\]-~]", "_", file.name)
    name = f"filename=\"{plain}\"; filename*=UTF-8''{quote(file.name, safe='')}"
    response.headers["Content-Disposition"] = f"{kind}; {name}"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Cache-Control"] = f"private, max-age={YEAR_SECONDS}, immutable"


@bp.delete("/files/<file_id>/")
@login_required
@returns(None, 204)
@documents_path(**_FILE_ID)
@documents_error(FileNotFound, FileInUse)
def delete_file(file_id: str) -> Response:
    """Delete a file of the caller's own that no message has.

    A file of a message goes with its message.
    """
    access.delete_file(file_id, current_user.id)
    return Response(status=204)
