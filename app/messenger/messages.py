"""Use cases of messages: read those of a room, send one."""

from collections.abc import Sequence

from flask_babel import lazy_gettext as _
from sqlalchemy import BigInteger, bindparam, select

from app.database.keyset import KeysetQuery, Page, PageRequest
from app.database.transactions import reading
from app.http.errors import BadInput
from app.messenger.drafts import Draft, Stored
from app.messenger.history import MESSAGES
from app.messenger.members import Membership, require_member
from app.messenger.message_changes import MessageNotFound, get_message
from app.messenger.models import Message, Room, RoomMember
from app.services import services

_place = (
    select(RoomMember)
    .join(Room, Room.id == RoomMember.room_id)
    .where(
        Room.name == bindparam("name"),
        RoomMember.user_id == bindparam("user_id", type_=BigInteger),
        RoomMember.left_id.is_(None),
    )
)
_VISIBLE = MESSAGES.add_columns(Message.deleted_at).where(
    Message.id > _place.with_only_columns(RoomMember.visible_from).scalar_subquery()
)
_ROOM_ID = _place.with_only_columns(RoomMember.room_id).scalar_subquery()
_OF_MEMBER, _WITH_DELETED = (
    KeysetQuery(query, Message.id, partition=Message.room_id, partition_value=_ROOM_ID)
    for query in (_VISIBLE.where(Message.deleted_at.is_(None)), _VISIBLE)
)


def read_messages(
    name: str, user_id: int, username: str, window: PageRequest, *, with_deleted: bool = False
) -> Page:
    """Read messages of a room for a member.

    Args:
        name: Of the room.
        user_id: The caller.
        username: The caller's name.
        window: Which part.
        with_deleted: Whether deleted messages are among the rows.

    Raises:
        RoomNotFound: There is none, or it is other people's.
    """
    listing = _WITH_DELETED if with_deleted else _OF_MEMBER
    page = Page((), older=False, newer=False)
    if "\0" not in name:
        with reading() as connection:
            page = listing.read(connection, window, name=name, user_id=user_id)
    if not page.rows:  # as most have some, to look first would be a question in vain
        require_member(name, user_id, username)
    return page


def read_around(
    member: Membership, message_id: int, limit: int, *, with_deleted: bool = False
) -> Page:
    """Read the messages around one of a room, which stands in the middle.

    Args:
        member: The caller.
        message_id: The message in the middle.
        limit: Messages at most.
        with_deleted: Whether deleted messages are among them.

    Raises:
        MessageNotFound: The member cannot read that message.
    """
    listing = _WITH_DELETED if with_deleted else _OF_MEMBER
    of_member = {"name": member.room_name, "user_id": member.user_id}
    before = limit // 2
    with reading() as connection:
        newer = listing.read(
            connection, PageRequest(limit - before, after=message_id - 1), **of_member
        )
        if not newer.rows or newer.rows[0].id != message_id:
            raise MessageNotFound
        older = listing.read(
            connection, PageRequest(max(before, 1), before=message_id), **of_member
        )
    if not before:
        return Page(newer.rows, older=bool(older.rows), newer=newer.newer)
    return Page([*older.rows, *newer.rows], older=older.older, newer=newer.newer)


def post_message(
    member: Membership,
    content: str,
    client_id: str | None = None,
    reply_to: int | None = None,
    attachments: Sequence[str] = (),
) -> Stored:
    """Send a message to a room; all sockets of its members get it.

    Args:
        member: Who sends it, and where.
        content: 1 to 10,000 characters, not only white space. With files it may be empty.
        client_id: What the client calls it: sent twice, it is stored once.
        reply_to: The id of a message of the room.
        attachments: Ids of files of the member's own.

    Returns:
        The message after its commit; the earlier one if the `client_id` is known.

    Raises:
        BadInput: The member cannot read the message that it is a reply to, or a file is not there.
        ApiError: It could not be stored, or nobody knows whether it is.
    """
    if reply_to is not None:
        check_reply(member, reply_to)
    return services().writer.post(Draft.of(member, content, client_id, reply_to, attachments))


def check_reply(member: Membership, reply_to: int) -> None:
    """Check that a member may reply to a message: it is there, in the room, and not hidden.

    Raises:
        BadInput: They may not.
    """
    try:
        get_message(member, reply_to)
    except MessageNotFound:
        raise BadInput({"reply_to": [_("There is no such message in this chat.")]}) from None
