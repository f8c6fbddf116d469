"""Use cases of messages: read those of a room, send one."""

from time import sleep

from sqlalchemy import BigInteger, Connection, bindparam, select, update

from app.database.keyset import AnySelect, KeysetQuery, Page, PageRequest
from app.database.transactions import reading, writing
from app.messenger.history import MESSAGES
from app.messenger.members import Membership, require_member
from app.messenger.models import Message, Room, RoomMember
from app.messenger.rooms import ids_of_rooms
from app.messenger.store import Draft, Stored
from app.services import services

FORGOTTEN_AT_ONCE = 1000  # client_ids; nobody else stores anything on SQLite meanwhile

_place = (
    select(RoomMember)
    .join(Room, Room.id == RoomMember.room_id)
    .where(
        Room.name == bindparam("name"),
        RoomMember.user_id == bindparam("user_id", type_=BigInteger),
        RoomMember.left_id.is_(None),
    )
)
_OF_MEMBER = KeysetQuery(
    MESSAGES.where(
        Message.id > _place.with_only_columns(RoomMember.visible_from).scalar_subquery(),
        Message.deleted_at.is_(None),
    ),
    Message.id,
    partition=Message.room_id,
    partition_value=_place.with_only_columns(RoomMember.room_id).scalar_subquery(),
)


def read_messages(name: str, user_id: int, username: str, window: PageRequest) -> Page:
    """Read messages of a room for a member.

    Raises:
        RoomNotFound: There is none, or it is other people's.
    """
    page = Page((), older=False, newer=False)
    if "\0" not in name:
        with reading() as connection:
            page = _OF_MEMBER.read(connection, window, name=name, user_id=user_id)
    if not page.rows:  # as most have some, to look first would be a question in vain
        require_member(name, user_id, username)
    return page


def post_message(member: Membership, content: str, client_id: str | None = None) -> Stored:
    """Send a message to a room; all sockets of its members get it.

    Args:
        member: Who sends it, and where.
        content: 1 to 10,000 characters, not only white space.
        client_id: What the client calls it: sent twice, it is stored once.

    Returns:
        The message after its commit; the earlier one if the `client_id` is known.

    Raises:
        ApiError: It could not be stored, or nobody knows whether it is.
    """
    writer = services().writer
    return writer.post(Draft.of(member, content, client_id))


def forget_client_ids(user_id: int) -> None:
    """Take from a user's messages what their client has called them.

    There may be tens of thousands, too many for the one transaction of an erasure. It shows
    nowhere, so it may well be done before.
    """
    some = _with_client_id(user_id).order_by(Message.id).limit(FORGOTTEN_AT_ONCE).with_for_update()
    while True:
        with writing() as connection:
            ids = connection.scalars(some).all()
            connection.execute(update(Message).where(Message.id.in_(ids)).values(client_id=None))
        if len(ids) < FORGOTTEN_AT_ONCE:
            return
        sleep(0)  # SQLite does not wait, and others want to be served in between


def forget_last_client_ids(connection: Connection, user_id: int) -> None:
    """Take from a user's messages those that `forget_client_ids` has not seen, in a transaction."""
    left_over = update(Message).where(Message.id.in_(_with_client_id(user_id)))
    connection.execute(left_over.values(client_id=None))


def _with_client_id(user_id: int) -> AnySelect:
    # By room, as the index has it; there is none on the user alone.
    return select(Message.id).where(
        Message.room_id.in_(ids_of_rooms(user_id)),
        Message.user_id == user_id,
        Message.client_id.is_not(None),
    )
