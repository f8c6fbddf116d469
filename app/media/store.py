"""Keeps the pictures of profiles, and serves them at `/media/`.

Nothing is served but what was stored here: a name has to look like one that we make.
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
_MODE = 0o644  # whatever the umask: another server may be the one that serves them
_YEAR_SECONDS = 31_536_000
_HOUR_SECONDS = 3_600

_JPEG = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}

media = Blueprint("media", __name__)


class PictureNotFound(ApiError):
    """There is no such file, or none that we show."""

    status = 404
    code = "not_found"
    detail = _("There is no such picture.")


class PicturesUnavailable(TemporarilyUnavailable):
    """The store of pictures is away."""

    code = "storage_unavailable"
    detail = _("Pictures cannot be shown at the moment.")


class Fetched(NamedTuple):
    """A picture that is no file of this machine."""

    data: bytes
    modified: datetime | None


class MediaStore(Protocol):
    """Where pictures are kept."""

    def save(self, data: bytes) -> str:
        """Store a JPEG and return its name, which nobody can guess.

        Raises:
            OSError: The store takes nothing at the moment; nothing is left behind.
        """

    def delete(self, name: str | None) -> None:
        """Remove a picture; one that is gone, or the default one, is left as it is.

        Raises:
            OSError: It cannot be removed at the moment.
        """

    def find(self, name: str) -> Path | Fetched | None:
        """Return the picture of this name, or None.

        Raises:
            OSError: The store cannot be asked at the moment.
        """


def new_name() -> str:
    """Return a name that no other picture has, and nobody can guess."""
    return f"{FOLDER}/{secrets.token_hex(16)}.jpg"


def is_name(text: str) -> bool:
    """Tell whether a text looks like a name that we make."""
    return bool(_NAME.match(text))


class FolderStore:
    """Files in a folder, which several processes may share.

    Args:
        root: The folder; it is made when the first file is.
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
        """Store a JPEG under the name that it has.

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
        """Name all pictures that are there, in no particular order."""
        for path in (self._root / FOLDER).glob("*.jpg"):
            if is_name(name := f"{FOLDER}/{path.name}"):
                yield name

    def delete(self, name: str | None) -> None:
        """Remove a file; one that is gone, or the default one, is left as it is."""
        if name is not None and is_name(name):
            (self._root / name).unlink(missing_ok=True)

    def find(self, name: str) -> Path | None:
        """Return where the file of this name is, or None."""
        if name == DEFAULT:
            return SHIPPED
        if not is_name(name):
            return None
        path = self._root / name
        try:
            # A symbolic link is none of ours, and could lead anywhere.
            return path if stat.S_ISREG(path.lstat().st_mode) else None
        except FileNotFoundError:
            return None


def read_picture(store: MediaStore, name: str) -> bytes | None:
    """Return the picture of this name, or None if it is gone.

    Raises:
        PicturesUnavailable: The store cannot be asked at the moment.
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
    """Return the path that a picture is served at; None stands for the default one."""
    return f"{MEDIA_URL}{name or DEFAULT}"


@media.get(f"{MEDIA_URL}<path:name>")
@documents_path("name", "As `profile.image` has it.", example=DEFAULT)
@documents_response(200, "The picture.", _JPEG)
@has_validator
@documents_error(PictureNotFound, PicturesUnavailable)
def show_picture(name: str) -> Response:
    """Serve a picture."""
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
    # A name is never given to another picture, so it may be kept for as long as one likes.
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
