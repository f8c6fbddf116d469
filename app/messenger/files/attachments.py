"""Gives files to the message that names them, in the transaction that stores it."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, select, update

from app.clock import utcnow
from app.http.errors import BadInput
from app.media.files import is_file_name
from app.messenger.files.models import Upload
from app.messenger.models import Message

_SHOWN = ("id", "name", "type", "bytes", "small_bytes", "width", "height")


def lock_files(
    connection: Connection, user_id: int, upload_ids: Sequence[str]
) -> Sequence[Mapping[str, Any]]:
    """Lock files that a user's message is to have. It comes before the locks of a message.

    Returns:
        Their rows, in the order of the ids.

    Raises:
        BadInput: One of them is not there, somebody else's, or another message has it.
    """
    query = (
        select(*(getattr(Upload, name) for name in _SHOWN))
        .where(
            Upload.id.in_([each for each in upload_ids if is_file_name(each)]),
            Upload.user_id == user_id,
            Upload.message_id.is_(None),  # rows of other messages are not even locked
            Upload.type.is_not(None),
            Upload.expires_at > utcnow(),
        )
        .order_by(Upload.id)
        .with_for_update()
    )
    found = {row.id: row._asdict() for row in connection.execute(query)}
    files = [found.pop(each) for each in upload_ids if each in found]
    if len(files) < len(upload_ids):
        raise BadInput({"attachments": [_("There is no such file, or it is in use.")]})
    return files


def attach(
    connection: Connection, message_id: int, upload_ids: Sequence[str], attachments: str
) -> None:
    """Give locked files to a message that the same transaction has inserted."""
    connection.execute(
        update(Message).where(Message.id == message_id).values(attachments=attachments)
    )
    connection.execute(
        update(Upload)
        .where(Upload.id.in_(upload_ids))
        .values(message_id=message_id, expires_at=None)
    )
