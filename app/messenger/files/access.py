"""Who may get a file: readers of its message; until a message has it, only its sender."""

from dataclasses import dataclass

from flask_babel import lazy_gettext as _
from sqlalchemy import BigInteger, bindparam, or_, select

from app.clock import utcnow
from app.database.prepared import AnyRow, Prepared
from app.database.transactions import reading, writing
from app.database.types import UtcDateTime
from app.http.errors import ApiError
from app.media.files import is_file_name
from app.media.message_pictures import SMALL_TYPE
from app.messenger.files.models import Upload
from app.messenger.files.removal import expire, remove
from app.messenger.models import Message, RoomMember

# Types that a browser may show in the place of a page. They have no scripts, and of pictures only
# those are shown that we have encoded, or looked through, ourselves.
_INLINE_VIDEOS = ("video/mp4", "video/webm")


class FileNotFound(ApiError):
    """There is no such file, or it is not yours to know of."""

    status = 404
    code = "file_not_found"
    detail = _("There is no such file.")


class FileInUse(ApiError):
    """A file of a message goes with its message alone."""

    status = 409
    code = "in_use"
    detail = _("A message has this file. Delete the message.")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that somebody may get.

    Attributes:
        key: Its name in the store; no other bytes ever have it.
        name: What people call it.
        type: Its media type.
        size: In bytes.
        is_inline: Whether a browser may show it.
    """

    key: str
    name: str
    type: str
    size: int
    is_inline: bool


def find_file(upload_id: str, viewer_id: int, *, small: bool = False) -> StoredFile:
    """Return a file for somebody.

    Args:
        upload_id: Its id.
        viewer_id: Who asks.
        small: Whether the small picture is wanted, if there is one.

    Raises:
        FileNotFound: There is none, or they may not have it.
    """
    row = _find(upload_id, viewer_id)
    if row is None:
        raise FileNotFound
    if small and row.small_bytes:
        return StoredFile(f"{row.id}-small", row.name, SMALL_TYPE, row.small_bytes, is_inline=True)
    is_picture = row.width is not None
    is_inline = is_picture or row.type in _INLINE_VIDEOS or row.type.startswith("audio/")
    return StoredFile(row.id, row.name, row.type, row.bytes, is_inline)


def _find(upload_id: str, viewer_id: int) -> AnyRow | None:
    if not is_file_name(upload_id):
        return None
    with reading() as connection:
        values = {"id": upload_id, "viewer_id": viewer_id, "now": utcnow()}
        return _FILE.first(connection, values)


_waits_for_message = (
    Upload.message_id.is_(None)
    & (Upload.user_id == bindparam("viewer_id", type_=BigInteger))
    & (Upload.expires_at > bindparam("now", type_=UtcDateTime))
)
_may_read_message = RoomMember.user_id.is_not(None)
_FILE = Prepared(
    select(Upload.id, Upload.name, Upload.type, Upload.bytes, Upload.small_bytes, Upload.width)
    .outerjoin(Message, (Message.id == Upload.message_id) & Message.deleted_at.is_(None))
    .outerjoin(
        RoomMember,
        (RoomMember.room_id == Message.room_id)
        & (RoomMember.user_id == bindparam("viewer_id", type_=BigInteger))
        & RoomMember.left_id.is_(None)
        & (Message.id > RoomMember.visible_from),
    )
    .where(
        Upload.id == bindparam("id"),
        Upload.type.is_not(None),
        or_(_waits_for_message, _may_read_message),
    )
)


def delete_file(upload_id: str, user_id: int) -> None:
    """Delete a file of a user's own that no message has.

    Raises:
        FileNotFound: It is not there, not any more, or not theirs.
        FileInUse: A message has it.
    """
    of_user = (Upload.id == upload_id, Upload.user_id == user_id)
    if not is_file_name(upload_id):
        raise FileNotFound
    with writing() as connection:
        waits = (Upload.message_id.is_(None), Upload.type.is_not(None))
        expired = expire(connection, *of_user, *waits, Upload.expires_at > utcnow())
        if not expired:
            is_used = select(Upload.id).where(*of_user, Upload.message_id.is_not(None))
            raise FileInUse if connection.scalar(is_used) else FileNotFound
    remove(expired)
