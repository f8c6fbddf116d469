"""Use cases of talk: open a room, take a seat in one, say something."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from time import sleep
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    bindparam,
    case,
    or_,
    select,
    update,
)
from sqlalchemy.orm import aliased

from app.accounts.models import User
from app.accounts.services import get_user_by_name, lock_users_shared
from app.accounts.usernames import room_names
from app.database.prepared import AnyRow, Prepared
from app.database.transactions import insert_once, reading, writing
from app.http.errors import ApiError, BadInput
from app.http.pagination import AnySelect, KeysetQuery, Page, PageRequest
from app.messenger.history import MESSAGES
from app.messenger.models import Message, Room
from app.messenger.store import Draft, Stored
from app.messenger.writer import MessageWriter

FORGOTTEN_AT_ONCE = 1000  # client_ids; nobody else stores anything on SQLite meanwhile


class RoomNotFound(ApiError):
    """There is no such room, or it is not yours to know of."""

    status = 404
    code = "room_not_found"
    detail = _("There is no such chat.")


class RoomWithOneself(BadInput):
    """A room has two members."""

    def __init__(self) -> None:
        super().__init__({"recipient": [_("You cannot open a chat with yourself.")]})


@dataclass(frozen=True, slots=True)
class Membership:
    """Somebody's place in a room: only `require_member` makes one, so it says "is a member".

    Attributes:
        latest: The room's newest message id when the seat was taken; 0 before the first.
    """

    room_id: int
    user_id: int
    username: str
    latest: int


def _is_member(user_id: int | BindParameter[int]) -> ColumnElement[bool]:
    return or_(Room.low_user_id == user_id, Room.high_user_id == user_id)


_VIEWER = bindparam("user_id", type_=BigInteger)
_IS_MEMBER = _is_member(_VIEWER)
_other = aliased(User)
_display_name: ColumnElement[str] = case((_IS_MEMBER, _other.username), else_=Room.name)

# Rooms as the user `user_id` sees them.
_ROOMS = select(
    Room.id,
    Room.name,
    Room.low_user_id,
    Room.high_user_id,
    Room.created_at,
    _display_name.label("display_name"),
).join(
    _other,
    _other.id == case((Room.low_user_id == _VIEWER, Room.high_user_id), else_=Room.low_user_id),
)
ALL_ROOMS = KeysetQuery(_ROOMS, Room.id)
OWN_ROOMS = KeysetQuery(_ROOMS.where(_IS_MEMBER), Room.id)

_OF_PAIR = Prepared(
    _ROOMS.where(Room.low_user_id == bindparam("low"), Room.high_user_id == bindparam("high"))
)
_MEMBERSHIP = Prepared(
    select(Room.id, Room.last_message_id).where(Room.name == bindparam("name"), _IS_MEMBER)
)
_OF_MEMBER = KeysetQuery(
    MESSAGES,
    Message.id,
    of=Message.room_id,
    which=select(Room.id).where(Room.name == bindparam("name"), _IS_MEMBER).scalar_subquery(),
)


def room_out(room: AnyRow) -> Mapping[str, Any]:
    """Return a row of a list of rooms as the API shows it."""
    return {
        "id": room.id,
        "name": room.name,
        "members": [room.low_user_id, room.high_user_id],
        "display_name": room.display_name,
    }


def open_room(user_id: int, username: str, recipient: str) -> tuple[Mapping[str, Any], bool]:
    """Return the room of two people, making it if they have none yet.

    Args:
        user_id: The caller.
        username: The caller's name.
        recipient: The other's login; case is ignored.

    Returns:
        The room as the API shows it to the caller, and whether it is new.

    Raises:
        UserNotFound: Nobody has that login.
        RoomWithOneself: It is the caller's own.
        TokenNotValid: The caller's account was erased meanwhile.
    """
    other = get_user_by_name(recipient)
    if other.id == user_id:
        raise RoomWithOneself
    low_id, high_id = sorted((user_id, other.id))
    pair = {"user_id": user_id, "low": low_id, "high": high_id}
    names = room_names(username, other.username)
    is_new = False
    while True:
        with reading() as connection:
            room = _OF_PAIR.first(connection, pair)
        if room is not None:
            return room_out(room), is_new
        with writing() as connection:
            lock_users_shared(connection, user_id, other.id)
            room_id = insert_once(
                connection, Room, name=next(names), low_user_id=low_id, high_user_id=high_id
            )
        # None: the pair has a room since a moment ago, or the name is taken.
        is_new = room_id is not None


def require_member(name: str, user_id: int, username: str) -> Membership:
    """Let a member into a room.

    Raises:
        RoomNotFound: There is none, or it is other people's.
    """
    room = None
    if "\0" not in name:  # which PostgreSQL would not even compare
        with reading() as connection:
            room = _MEMBERSHIP.first(connection, {"name": name, "user_id": user_id})
    if room is None:
        raise RoomNotFound
    return Membership(room.id, user_id, username, room.last_message_id)


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
    """Say something in a room; every socket of both members hears it.

    Args:
        seat: Who says it, and where.
        content: 1 to 10,000 characters, not only white space.
        client_id: What the client calls it: said twice, it is stored once.

    Returns:
        The message after its commit; the earlier one if the `client_id` is known.

    Raises:
        ApiError: It could not be stored, or nobody knows whether it is.
    """
    writer: MessageWriter = current_app.extensions["writer"]
    return writer.post(Draft(member.room_id, member.user_id, member.username, content, client_id))


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


def _with_client_id(user_id: int) -> AnySelect:
    # By room, as the index has it; there is none on the user alone.
    return select(Message.id).where(
        Message.room_id.in_(_ids_of_rooms(user_id)),
        Message.user_id == user_id,
        Message.client_id.is_not(None),
    )


def _ids_of_rooms(user_id: int) -> AnySelect:
    return select(Room.id).where(_is_member(user_id))


def lock_rooms(connection: Connection, user_id: int) -> Collection[int]:
    """Let nothing be said in a user's rooms until the transaction ends; return their ids.

    To be done before the user's account is locked, because who stores a message locks its room
    first, and then its author.
    """
    query = _ids_of_rooms(user_id).order_by(Room.id).with_for_update()
    return set(connection.scalars(query))


def has_other_rooms(connection: Connection, user_id: int, room_ids: Collection[int]) -> bool:
    """Tell whether a user is in more rooms than these."""
    return not set(connection.scalars(_ids_of_rooms(user_id))).issubset(room_ids)


def erase_member(connection: Connection, user_id: int, username: str) -> None:
    """Take a user's old name from the rooms that they are in; what they said there stays.

    Args:
        connection: Of a transaction that has the rooms and the account locked.
        user_id: Whose.
        username: What they are called now.

    Raises:
        IntegrityError: Somebody else took a name at the same moment.
    """
    left_over = update(Message).where(Message.id.in_(_with_client_id(user_id)))
    connection.execute(left_over.values(client_id=None))
    other = aliased(User)
    other_id = case((Room.low_user_id == user_id, Room.high_user_id), else_=Room.low_user_id)
    members = select(Room.id, other.username).join(other, other.id == other_id)
    rows = connection.execute(members.where(_is_member(user_id))).all()
    nameless = {room_id: room_names(username, other_name) for room_id, other_name in rows}
    while nameless:
        wanted = {room_id: next(names) for room_id, names in nameless.items()}
        taken = set(connection.scalars(select(Room.name).where(Room.name.in_(wanted.values()))))
        free = []
        for room_id, name in wanted.items():
            if name not in taken:
                taken.add(name)
                free.append({"room": room_id, "new_name": name})
                del nameless[room_id]
        if free:
            connection.execute(_RENAME, free)


_RENAME = update(Room).where(Room.id == bindparam("room")).values(name=bindparam("new_name"))
