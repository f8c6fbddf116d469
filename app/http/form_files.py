"""Reads the file of a form piece by piece, so that it is never in memory as a whole.

`app/http/body.py` reads all other forms, which are small.
"""

from collections.abc import Iterator

from flask import Request
from flask_babel import lazy_gettext as _
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Event, File, MultipartDecoder, NeedData

from app.http.body import FIELDS_MAX, NO_MULTIPART
from app.http.errors import NON_FIELD, BadInput

FORM_BYTES = 64 * 1024  # of what stands around the file
_PIECE_BYTES = 64 * 1024


def file_of_form(request: Request, field: str, max_bytes: int) -> tuple[str, Iterator[bytes]]:
    """Return the name of the file in a multipart form, and its content in pieces.

    Args:
        request: Nothing of its body was read.
        field: The name of the file's field; other fields are skipped.
        max_bytes: That the file may have.

    Returns:
        The name as the client says it, and the pieces. Reading the pieces may raise the errors
        below as well; then the pieces before must not be used.

    Raises:
        BadInput: The body is no valid form, or has no such file, or two.
        UnsupportedMediaType: It is no multipart form.
        RequestEntityTooLarge: The file or the form is too large.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType
    request.max_content_length = max_bytes + FORM_BYTES
    events = _events(request, max_bytes + FORM_BYTES)
    for event in events:
        if isinstance(event, File) and event.name == field and event.filename:
            return event.filename, _content(events, field, max_bytes)
    raise BadInput({field: [_("Send a file (multipart/form-data).")]})


def _content(events: Iterator[Event], field: str, max_bytes: int) -> Iterator[bytes]:
    size, is_file = 0, True
    for event in events:
        if isinstance(event, Data) and is_file:
            size += len(event.data)
            if size > max_bytes:
                raise RequestEntityTooLarge
            if event.data:
                yield event.data
            is_file = event.more_data
        elif isinstance(event, File) and event.name == field and event.filename:
            raise BadInput({field: [_("Send one file at a time.")]})


def _events(request: Request, max_bytes: int) -> Iterator[Event]:
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary:
        raise BadInput({NON_FIELD: [NO_MULTIPART]})
    # The buffer has one piece, and what is not a whole header or boundary yet.
    decoder = MultipartDecoder(
        boundary.encode(), max_form_memory_size=2 * _PIECE_BYTES, max_parts=FIELDS_MAX
    )
    left = max_bytes
    try:
        while True:
            event = decoder.next_event()
            if isinstance(event, NeedData):
                # Werkzeug does not say that it ends a body of unknown length.
                if left <= 0:
                    raise RequestEntityTooLarge
                piece = request.stream.read(min(_PIECE_BYTES, left))
                left -= len(piece)
                decoder.receive_data(piece or None)
                continue
            yield event
            if isinstance(event, Epilogue):
                return
    except ValueError:  # what Werkzeug raises for a form that is none
        raise BadInput({NON_FIELD: [NO_MULTIPART]}) from None
