"""Use case: take in a file. It comes before its message, which then names it."""

import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep
from typing import IO

from flask_babel import lazy_gettext as _
from sqlalchemy import func, insert, select, update

from app import threads
from app.accounts.models import User
from app.accounts.tokens import TokenNotValid
from app.clock import utcnow
from app.database.transactions import writing
from app.http.errors import ApiError, BadInput, TemporarilyUnavailable
from app.media.decoder import decoded
from app.media.files import PIECE_BYTES
from app.media.message_pictures import GIF_BYTES, ShownPicture, shown_picture
from app.media.pictures import InvalidPicture
from app.media.signatures import HEAD_BYTES, PICTURES, type_of
from app.messenger.files.models import Upload
from app.messenger.files.names import safe_name
from app.messenger.files.pacing import paced
from app.messenger.files.removal import expire, remove
from app.messenger.files.schemas import FileOut
from app.messenger.files.shown import file_out
from app.services import services
from app.threads import TooBusy

log = logging.getLogger(__name__)

# After so much more than a request may take, a file that is not whole is given up: its worker died.
ARRIVAL_SLACK = timedelta(minutes=50)
UNATTACHED = timedelta(days=1)  # that a file waits for its message
UNATTACHED_MAX = 100  # files of one user that wait, or are on their way
# The disk gets a file bit by bit. A message whose commit waited for the last 25 MB of twenty files
# came after 13 ms in place of 7.
SYNC_BYTES = 1024 * 1024
TURN_SECONDS = 30.0  # that a picture waits for the thread that works with pictures


class FileTooLarge(ApiError):
    """The file is larger than `UPLOAD_BYTES`."""

    status = 413
    code = "too_large"
    detail = _("The file is too large.")


class QuotaExceeded(ApiError):
    """With it, the files of the user would be more than `UPLOAD_TOTAL_BYTES`, or too many."""

    status = 413
    code = "quota"
    detail = _("There is no room left for more files of yours.")


class FilesUnavailable(TemporarilyUnavailable):
    """The store of files cannot be used."""

    code = "storage_unavailable"
    detail = _("Files cannot be stored or shown at the moment.")


@dataclass(frozen=True, slots=True)
class _Content:
    type: str
    bytes: int
    small_bytes: int = 0
    width: int | None = None
    height: int | None = None


@contextmanager
def room_for_file(user_id: int, length: int | None) -> Iterator[str]:
    """Keep room free for a file that is on its way; remove what came of it if it fails.

    Args:
        user_id: Whose it will be.
        length: Bytes of the request, if it says so.

    Yields:
        The id of the file.

    Raises:
        QuotaExceeded: There is no room.
        TokenNotValid: The account was erased meanwhile.
    """
    config = services().config
    expected = config.UPLOAD_BYTES if length is None else min(length, config.UPLOAD_BYTES)
    upload_id, now = secrets.token_hex(16), utcnow()
    # Locked, so that many at once do not each find the same room.
    owner = select(User.id).where(User.id == user_id, User.deleted_at.is_(None))
    used = select(
        func.coalesce(func.sum(Upload.bytes + Upload.small_bytes), 0),
        func.count(Upload.expires_at),
    ).where(Upload.user_id == user_id)
    with writing() as connection:
        if connection.scalar(owner.with_for_update(key_share=True)) is None:
            raise TokenNotValid
        total, waiting = connection.execute(used).one()
        if total + expected > config.UPLOAD_TOTAL_BYTES or waiting >= UNATTACHED_MAX:
            raise QuotaExceeded
        connection.execute(
            insert(Upload).values(
                id=upload_id,
                user_id=user_id,
                bytes=expected,
                created_at=now,
                expires_at=now + timedelta(seconds=config.UPLOAD_SECONDS) + ARRIVAL_SLACK,
            )
        )
    try:
        yield upload_id
    except BaseException:
        with writing() as connection:
            expire(connection, Upload.id == upload_id)
        remove([upload_id])
        raise


def store_file(upload_id: str, name: str, pieces: Iterable[bytes]) -> FileOut:
    """Store a file for which there is room, and return it as the API shows it.

    Args:
        upload_id: What `room_for_file` has given.
        name: As the client says it.
        pieces: The content.

    Raises:
        BadInput: It is a picture that cannot be shown.
        FilesUnavailable: It cannot be stored at the moment.
        TokenNotValid: The account was erased meanwhile.
    """
    store = services().files
    with _storing():
        draft = store.draft(upload_id)
    with draft:
        content = _fill(draft, pieces, upload_id)
        with _storing():
            store.keep(upload_id, draft)
    upload = {
        "name": safe_name(name),
        "type": content.type,
        "bytes": content.bytes,
        "small_bytes": content.small_bytes,
        "width": content.width,
        "height": content.height,
    }
    now = utcnow()
    is_awaited = (Upload.id == upload_id, Upload.type.is_(None), Upload.expires_at > now)
    with writing() as connection:
        whole = update(Upload).where(*is_awaited).values(**upload, expires_at=now + UNATTACHED)
        if not connection.execute(whole).rowcount:
            raise TokenNotValid  # an erasure has let it expire
    store.stats.stored += 1
    store.stats.stored_bytes += content.bytes + content.small_bytes
    return file_out({"id": upload_id, **upload})


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("a file could not be stored: %s", error)
        raise FilesUnavailable from error


def _fill(draft: IO[bytes], pieces: Iterable[bytes], upload_id: str) -> _Content:
    head, size = b"", 0
    for piece in _larger(pieces):
        head = head or piece[:HEAD_BYTES]
        if size // SYNC_BYTES < (size + len(piece)) // SYNC_BYTES:
            _sync(draft)
        size += len(piece)
        _write(draft, piece)
    media_type = type_of(head)
    if media_type not in PICTURES or (media_type == "image/gif" and size > GIF_BYTES):
        return _Content(media_type, size)
    try:
        with _storing():
            shown = _in_turn(draft)
    except InvalidPicture as error:
        raise BadInput({"file": [error.sentence]}) from error
    if shown.data is not None:
        draft.seek(0)
        draft.truncate()
        _write(draft, shown.data)
        size = len(shown.data)
    if shown.small is not None:
        _store_small(f"{upload_id}-small", shown.small)
    return _Content(media_type, size, len(shown.small or b""), shown.width, shown.height)


def _larger(pieces: Iterable[bytes]) -> Iterator[bytes]:
    # Each piece that is written is a way to a thread and back.
    waiting: list[bytes] = []
    for piece in paced(pieces):
        waiting.append(piece)
        if sum(map(len, waiting)) >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting.clear()
    yield b"".join(waiting)


def _write(draft: IO[bytes], data: bytes) -> None:
    with _storing():
        threads.run("disk", _write_all, draft, data)


def _sync(draft: IO[bytes]) -> None:
    with _storing():
        threads.run("disk", os.fsync, draft.fileno())


def _write_all(draft: IO[bytes], data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[draft.write(left) :]


def _in_turn(draft: IO[bytes]) -> ShownPicture:
    # Somebody who has sent it over a slow line would have to send it all again.
    until = monotonic() + TURN_SECONDS
    while True:
        try:
            return threads.run("pictures", _shown, draft)
        except TooBusy:
            if monotonic() >= until:
                raise
        sleep(0.2)


def _shown(draft: IO[bytes]) -> ShownPicture:
    draft.seek(0)
    return decoded(shown_picture, draft.read())


def _store_small(name: str, data: bytes) -> None:
    store = services().files
    with _storing():
        draft = store.draft(name)
    with draft:
        _write(draft, data)
        with _storing():
            store.keep(name, draft)
