"""Use cases of messages that are sent already: show one, edit it, delete it.

All of them lock the room's row and then the message, so of an edit and a deletion at the same
moment the second sees what the first has left, and a deletion always wins.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, update

from app.clock import utcnow
from app.database.sequence import write_changes
from app.database.transactions import reading, writing
from app.database.types import LARGEST_ID
from app.http.errors import ApiError
from app.messenger.announcements import announce
from app.messenger.files.models import Upload
from app.messenger.files.removal import expire, remove
from app.messenger.history import MESSAGES
from app.messenger.members import Membership, is_blocked_in, lock_membership
from app.messenger.models import Message
from app.messenger.schemas import message_out
from app.messenger.search.index import forget
from app.social.blocks import Blocked


class MessageNotFound(ApiError):
    """There is no such message, it was deleted, or it is not yours to know of."""

    status = 404
    code = "message_not_found"
    detail = _("There is no such message.")


class NotYours(ApiError):
    """Only its author may do that."""

    status = 403
    code = "not_yours"
    detail = _("Only the author may do this.")


class EditTooLate(ApiError):
    """A message can be edited for some time after it was sent."""

    status = 403
    code = "edit_too_late"
    detail = _("This message cannot be edited any more.")


def get_message(member: Membership, message_id: int) -> Mapping[str, Any]:
    """Return a message as the API shows it.

    Raises:
        MessageNotFound: It is not there, not any more, or hidden from the member.
    """
    with reading() as connection:
        row = connection.execute(_found(member, message_id)).one_or_none()
    if row is None or row.deleted_at is not None:
        raise MessageNotFound
    return _out(row)


def edit_message(
    member: Membership, message_id: int, content: str, edit_seconds: int
) -> Mapping[str, Any]:
    """Give a message of one's own another text; the same text again changes nothing.

    Args:
        member: The caller.
        message_id: Of a message in that room.
        content: 1 to 10,000 characters, not only white space.
        edit_seconds: How long after it was sent that may be done; below 0: always.

    Returns:
        The message as the API shows it.

    Raises:
        RoomNotFound: The caller is no member any more.
        MessageNotFound: It is not there, not any more, or hidden from the member.
        NotYours, EditTooLate, Blocked: The caller may not.
    """
    now = utcnow()
    with writing() as connection:
        lock_membership(connection, member)
        if is_blocked_in(connection, member):
            raise Blocked
        row = _lock(connection, member, message_id)
        if row.deleted_at is not None:
            raise MessageNotFound
        if row.user_id != member.user_id:
            raise NotYours
        if edit_seconds >= 0 and now - row.timestamp >= timedelta(seconds=edit_seconds):
            raise EditTooLate
        if row.content == content:
            return _out(row)
        forget(connection, message_id)
        numbers = write_changes(
            connection,
            [
                lambda number: (
                    update(Message)
                    .where(Message.id == message_id)
                    .values(content=content, edited_at=now, changed_id=number)
                )
            ],
        )
    announce(numbers)
    return message_out(
        *(row.id, row.username, content, row.timestamp, row.client_id),
        *(now, row.reply_to_id, row.attachments),
    )


def delete_message(member: Membership, message_id: int) -> None:
    """Delete a message: one's own, or as an administrator of a group. Its text and files really go.

    Raises:
        RoomNotFound: The caller is no member any more.
        MessageNotFound: It is not there, or hidden from the member.
        NotYours: The caller may not.
    """
    with writing() as connection:
        role = lock_membership(connection, member)
        row = _lock(connection, member, message_id)
        if row.user_id != member.user_id and role != "admin":
            raise NotYours
        if row.deleted_at is not None:
            return
        forget(connection, message_id)
        files = expire(connection, Upload.message_id == message_id)
        emptied = {"content": "", "attachments": None, "edited_at": None}
        numbers = write_changes(
            connection,
            [
                lambda number: (
                    update(Message)
                    .where(Message.id == message_id)
                    .values(**emptied, deleted_at=utcnow(), changed_id=number)
                )
            ],
        )
    announce(numbers)
    remove(files)


def _found(member: Membership, message_id: int) -> Any:
    return MESSAGES.add_columns(Message.user_id, Message.deleted_at).where(
        Message.id == min(message_id, LARGEST_ID),
        Message.room_id == member.room_id,
        Message.id > member.visible_from,
    )


def _lock(connection: Connection, member: Membership, message_id: int) -> Row[*tuple[Any, ...]]:
    query = _found(member, message_id).with_for_update(of=Message, key_share=True)
    row: Row[*tuple[Any, ...]] | None = connection.execute(query).one_or_none()
    if row is None:
        raise MessageNotFound
    return row


def _out(row: Row[*tuple[Any, ...]]) -> Mapping[str, Any]:
    *message, _user_id, _deleted_at = row
    return message_out(*message)
