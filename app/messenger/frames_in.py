"""Frames that clients send on a stream."""

from typing import Any

from flask_babel import lazy_gettext as _

from app.http.errors import NON_FIELD, BadInput
from app.http.validation import Body
from app.messenger.schemas import MessageId, MessageIn

REF_CHARS_MAX = 64


class SendIn(MessageIn):
    """`send`: a message to a room."""

    room: str


class ReadIn(Body):
    """`read`: a room is read up to a message."""

    room: str
    read_id: MessageId


class TypingIn(Body):
    """`typing`: the user types in a room."""

    room: str


class ActiveIn(Body):
    """`active`: whether the user looks at this client."""

    active: bool


def read_frame(data: Any) -> dict[str, Any]:
    """Return a frame of a client.

    Raises:
        BadInput: It is no object, or its `ref` is no name.
    """
    if not isinstance(data, dict):
        raise BadInput({NON_FIELD: [_("A frame is a JSON object.")]})
    if "ref" in data and ref_of(data) is None:
        raise BadInput({"ref": [_("A text of 1 to 64 characters is expected.")]})
    return data


def ref_of(data: Any) -> str | None:
    """Return what the client calls a frame, if it is a valid name."""
    ref = data.get("ref") if isinstance(data, dict) else None
    return ref if isinstance(ref, str) and 1 <= len(ref) <= REF_CHARS_MAX else None
