"""Uploads of pictures for profiles and groups: checks them, makes avatars, stores those."""

import logging
from typing import Annotated, Any

from flask_babel import lazy_gettext as _
from pydantic import AfterValidator, Field
from werkzeug.datastructures import FileStorage

from app import threads
from app.http.errors import BadInput, TemporarilyUnavailable
from app.http.fields import InSchema, RefusedField
from app.media.avatars import avatar_from
from app.media.decoder import decoded
from app.media.pictures import InvalidPicture
from app.media.store import MediaStore

log = logging.getLogger(__name__)

UPLOAD_BYTES = 6 * 1024 * 1024  # a picture of 5 MB, and the form around it


class StorageUnavailable(TemporarilyUnavailable):
    """The picture cannot be stored: the disk is full or not writable, or the bucket is away."""

    code = "storage_unavailable"
    detail = _("The picture cannot be stored at the moment.")


def _uploaded(value: Any) -> FileStorage | None:
    # Only null restores the default picture. An empty file input is ignored (`app/http/body.py`),
    # and an empty text is an error.
    if value is not None and not isinstance(value, FileStorage):
        raise RefusedField(_("Send the picture as a file (multipart/form-data), or null."))
    return value


PictureField = Annotated[
    Any,
    AfterValidator(_uploaded),
    # `type` alone says it all; but openapi-generator makes no Python of a type that is only null.
    InSchema(
        anyOf=[
            {"type": "string", "format": "binary"},
            {"type": ["string", "null"], "const": None},
        ]
    ),
    Field(description="A JPEG, PNG, GIF or WebP of up to 5 MB; null for the default one."),
]


def save_avatar(store: MediaStore, data: bytes) -> str:
    """Make an avatar of a picture and store it; return its name in the store.

    Raises:
        BadInput: The picture is refused.
        StorageUnavailable: It cannot be stored.
        TooBusy: Too many pictures are waiting.
    """
    try:
        return store.save(threads.run("pictures", decoded, avatar_from, data))
    except InvalidPicture as error:
        raise BadInput({"image": [error.sentence]}) from error
    except OSError as error:
        raise StorageUnavailable from error


def discard_avatar(store: MediaStore, name: str | None) -> None:
    """Remove an avatar that is no longer used; never raises."""
    try:
        store.delete(name)
    except OSError:  # a superfluous file is no reason to fail
        log.warning("an unused picture could not be removed: %s", name)
