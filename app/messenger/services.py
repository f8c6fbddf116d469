"""Use cases of talk: open a room, take a seat in one, say something."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _
from sqlalchemy import ColumnElement, Row, case, or_, select
from sqlalchemy.orm import aliased

from app.accounts.models import User
from app.accounts.names import room_name
from app.accounts.services import get_user_by_name
from app.database import insert_once, reading, writing
from app.errors import ApiError, BadInput
from app.messenger.models import Room
from app.messenger.store import Draft, Stored
from app.messenger.writer import MessageWriter
from app.pagination import AnySelect


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
class Seat:
    """Somebody's place in a room: only `take_seat` makes one, so it says "is a member".

    Attributes:
        latest: The room's newest message id when the seat was taken; 0 before the first.
    """

    room_id: int
    user_id: int
    username: str
    latest: int


def rooms(user_id: int, *, everybodys: bool = False) -> AnySelect:
    """Return the query for a user's rooms, or for all rooms, as `user_id` sees them.

    Its columns are id, name, low_user_id, high_user_id, display_name.
    """
    other = aliased(User)
    other_id = case((Room.low_user_id == user_id, Room.high_user_id), else_=Room.low_user_id)
    is_member = _is_member(user_id)
    display_name: ColumnElement[str] = case((is_member, other.username), else_=Room.name)
    query = select(
        Room.id,
        Room.name,
        Room.low_user_id,
        Room.high_user_id,
        display_name.label("display_name"),
    ).join(other, other.id == other_id)
    return query if everybodys else query.where(is_member)


def room_out(room: Row[Any]) -> Mapping[str, Any]:
    """Return a row of `rooms` as the API shows it."""
    return {
        "id": room.id,
        "name": room.name,
        "members": [room.low_user_id, room.high_user_id],
        "display_name": room.display_name,
    }


def _is_member(user_id: int) -> ColumnElement[bool]:
    return or_(Room.low_user_id == user_id, Room.high_user_id == user_id)


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
    """
    other = get_user_by_name(recipient)
    if other.id == user_id:
        raise RoomWithOneself
    low_id, high_id = sorted((user_id, other.id))
    of_pair = rooms(user_id).where(Room.low_user_id == low_id, Room.high_user_id == high_id)
    base = room_name(username, other.username)
    copy = 1
    is_new = False
    while True:
        with reading() as connection:
            room = connection.execute(of_pair).one_or_none()
        if room is not None:
            return room_out(room), is_new
        # `_` may stand in a name, so another pair may have this name for its room; `~` may not.
        name = base if copy == 1 else f"{base}~{copy}"
        with writing() as connection:
            room_id = insert_once(
                connection, Room, name=name, low_user_id=low_id, high_user_id=high_id
            )
        # None: the pair has a room since a moment ago, or the name is taken.
        is_new = room_id is not None
        copy += 1


def take_seat(name: str, user_id: int, username: str) -> Seat:
    """Let a member into a room.

    Raises:
        RoomNotFound: There is none, or it is other people's.
    """
    query = select(Room.id, Room.last_message_id).where(Room.name == name, _is_member(user_id))
    room = None
    if "\0" not in name:  # which PostgreSQL would not even compare
        with reading() as connection:
            room = connection.execute(query).one_or_none()
    if room is None:
        raise RoomNotFound
    return Seat(room.id, user_id, username, room.last_message_id)


def post_message(seat: Seat, content: str, client_id: str | None = None) -> Stored:
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
    return writer.post(Draft(seat.room_id, seat.user_id, seat.username, content, client_id))
