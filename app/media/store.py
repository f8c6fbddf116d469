"""Stores pictures and serves them at `/media/`.

It serves only what it has stored: a name must have the form of the names that it makes.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

from flask import Blueprint, Response, send_file
from flask_babel import lazy_gettext as _

from app.http.annotations import documents_error, documents_path, documents_response
from app.http.conditional import has_validator
from app.http.errors import ApiError, TemporarilyUnavailable
from app.services import services

MEDIA_URL = "/media/"
FOLDER = "user_images"
DEFAULT = f"{FOLDER}/default.jpg"

SHIPPED = Path(__file__).with_name("default.jpg")
_NAME = re.compile(FOLDER + r"/[0-9a-f]{32}\.jpg\Z")
_MODE = 0o644  # whatever the umask: a web server may serve the files too
_YEAR_SECONDS = 31_536_000
_HOUR_SECONDS = 3_600

_JPEG = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}

media = Blueprint("media", __name__)


class PictureNotFound(ApiError):
    """There is no such picture."""

    status = 404
    code = "not_found"
    detail = _("There is no such picture.")


class PicturesUnavailable(TemporarilyUnavailable):
    """The store of pictures is not available."""

    code = "storage_unavailable"
    detail = _("Pictures cannot be shown at the moment.")


class Fetched(NamedTuple):
    """The bytes of a picture that is not a local file."""

    data: bytes
    modified: datetime | None


class MediaStore(Protocol):
    """A store of pictures."""

    def save(self, data: bytes) -> str:
        """Store a JPEG and return its name, which nobody can guess.

        Raises:
            OSError: The store is not available; nothing is left behind.
        """

    def delete(self, name: str | None) -> None:
        """Remove a picture. For one that does not exist, or the default picture, do nothing.

        Raises:
            OSError: The store is not available.
        """

    def find(self, name: str) -> Path | Fetched | None:
        """Return the picture of this name, or None.

        Raises:
            OSError: The store is not available.
        """


def new_name() -> str:
    """Return a new random name, which nobody can guess."""
    return f"{FOLDER}/{secrets.token_hex(16)}.jpg"


def is_name(text: str) -> bool:
    """Tell whether a text has the form of our names."""
    return bool(_NAME.match(text))


class FolderStore:
    """Pictures in a folder, which several processes may share.

    Args:
        root: The folder. It is created with the first file.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, data: bytes) -> str:
        """Store a JPEG and return its name, which nobody can guess.

        Raises:
            OSError: The disk is full or not writable; nothing is left behind.
        """
        name = new_name()
        self.put(name, data)
        return name

    def put(self, name: str, data: bytes) -> None:
        """Store a JPEG under a given name.

        Raises:
            OSError: The disk is full or not writable; nothing is left behind.
        """
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), _MODE)
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def names(self) -> Iterator[str]:
        """Yield the names of all pictures, in no particular order."""
        for path in (self._root / FOLDER).glob("*.jpg"):
            if is_name(name := f"{FOLDER}/{path.name}"):
                yield name

    def delete(self, name: str | None) -> None:
        """Remove a file. For one that does not exist, or the default picture, do nothing."""
        if name is not None and is_name(name):
            (self._root / name).unlink(missing_ok=True)

    def find(self, name: str) -> Path | None:
        """Return the path of the file with this name, or None."""
        if name == DEFAULT:
            return SHIPPED
        if not is_name(name):
            return None
        path = self._root / name
        try:
            # We make no symbolic links; one could lead anywhere.
            return path if stat.S_ISREG(path.lstat().st_mode) else None
        except FileNotFoundError:
            return None


def read_picture(store: MediaStore, name: str) -> bytes | None:
    """Return the picture of this name, or None.

    Raises:
        PicturesUnavailable: The store is not available.
    """
    match _find(store, name):
        case Fetched() as fetched:
            return fetched.data
        case Path() as path:
            with suppress(FileNotFoundError):  # its owner has just replaced it
                return path.read_bytes()
    return None


def _find(store: MediaStore, name: str) -> Path | Fetched | None:
    try:
        return store.find(name)
    except OSError as error:
        raise PicturesUnavailable from error


def image_url(name: str | None) -> str:
    """Return the path of a picture's URL; None stands for the default picture."""
    return f"{MEDIA_URL}{name or DEFAULT}"


@media.get(f"{MEDIA_URL}<path:name>")
@documents_path("name", "The last part of `profile.image`.", example=DEFAULT)
@documents_response(200, "The picture.", _JPEG)
@has_validator
@documents_error(PictureNotFound, PicturesUnavailable)
def show_picture(name: str) -> Response:
    """Serve a picture.

    Names cannot be guessed and never change their picture, so it may be kept for ever.
    """
    store = services().media
    found = _find(store, name)
    if found is None:
        raise PictureNotFound
    try:
        response = _sent(name, found)
    except FileNotFoundError:  # its owner has just replaced it
        raise PictureNotFound from None
    response.cache_control.immutable = name != DEFAULT
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def _sent(name: str, found: Path | Fetched) -> Response:
    # A name is never used for another picture, so caches may keep it for ever.
    max_age = _HOUR_SECONDS if name == DEFAULT else _YEAR_SECONDS
    if isinstance(found, Path):
        return send_file(found, mimetype="image/jpeg", max_age=max_age)
    return send_file(
        BytesIO(found.data),
        mimetype="image/jpeg",
        max_age=max_age,
        download_name=Path(name).name,
        etag=Path(name).stem,
        last_modified=found.modified,
    )
