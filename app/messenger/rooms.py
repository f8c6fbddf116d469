"""Use cases of rooms: list them, open one of two people, take an erased name from them."""

from collections.abc import Collection, Mapping
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import (
    BigInteger,
    Connection,
    String,
    bindparam,
    case,
    insert,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.functions import FunctionElement

from app.accounts.models import User
from app.accounts.services import get_user_by_name, lock_users_shared
from app.accounts.usernames import room_names
from app.clock import utcnow
from app.database.keyset import AnySelect, KeysetQuery
from app.database.prepared import AnyRow, Prepared
from app.database.sequence import draw
from app.database.transactions import insert_once, reading, writing
from app.http.errors import BadInput
from app.messenger.models import Room, RoomMember
from app.messenger.schemas import RoomOut
from app.social.blocks import Blocked, is_blocked


class RoomWithOneself(BadInput):
    """A room has two members."""

    def __init__(self) -> None:
        super().__init__({"recipient": [_("You cannot open a chat with yourself.")]})


class _Joined(FunctionElement[str]):
    # Numbers with commas between them, which `aggregate_strings` (SQLAlchemy 2.1) says with a
    # parameter that is known only when it is executed.
    type = String()
    inherit_cache = True


@compiles(_Joined, "sqlite")
def _join_on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"group_concat({compiler.process(element.clauses, **options)})"


@compiles(_Joined, "postgresql")
def _join_on_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"string_agg(CAST({compiler.process(element.clauses, **options)} AS text), ',')"


_VIEWER = bindparam("user_id", type_=BigInteger)
_other = aliased(User)
_of_room = aliased(RoomMember)

# Of groups; the members of a room of two stand in its row.
_members = (
    select(_Joined(_of_room.user_id))
    .where(_of_room.room_id == Room.id, _of_room.left_id.is_(None))
    .scalar_subquery()
)

# Rooms as the user `user_id` sees them, by the place that they have in them, if they have one.
_ROOMS = (
    select(
        Room.id,
        Room.name,
        Room.low_user_id,
        Room.high_user_id,
        Room.created_at,
        case(
            (RoomMember.user_id.is_(None), Room.name),
            (Room.kind == "group", Room.title),
            else_=_other.username,
        ).label("display_name"),
        case((Room.kind == "group", _members)).label("members"),
    )
    .select_from(Room)
    .outerjoin(
        _other,
        _other.id == case((Room.low_user_id == _VIEWER, Room.high_user_id), else_=Room.low_user_id),
    )
)
_IS_OWN = (RoomMember.room_id == Room.id) & RoomMember.left_id.is_(None)
ALL_ROOMS = KeysetQuery(
    _ROOMS.outerjoin(RoomMember, _IS_OWN & (RoomMember.user_id == _VIEWER)), Room.id
)
OWN_ROOMS = KeysetQuery(
    _ROOMS.join(RoomMember, _IS_OWN),
    RoomMember.room_id,
    partition=RoomMember.user_id,
    partition_value=_VIEWER,
)
# Those that they have left as well, where they may read nothing, and what they wrote still is.
ROOMS_WRITTEN_IN = KeysetQuery(
    _ROOMS.join(RoomMember, RoomMember.room_id == Room.id),
    RoomMember.room_id,
    partition=RoomMember.user_id,
    partition_value=_VIEWER,
)

_OF_PAIR = Prepared(
    _ROOMS.join(RoomMember, _IS_OWN).where(
        RoomMember.user_id == _VIEWER,
        Room.low_user_id == bindparam("low"),
        Room.high_user_id == bindparam("high"),
    )
)


def room_out(room: AnyRow) -> RoomOut:
    """Return a row of a list of rooms as the API shows it."""
    members = [room.low_user_id, room.high_user_id]
    if room.low_user_id is None:
        members = sorted(map(int, room.members.split(","))) if room.members else []
    return {
        "id": room.id,
        "name": room.name,
        "members": members,
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
        Blocked: One of the two has blocked the other, and they have no room yet.
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
            if is_blocked(connection, user_id, other.id):
                raise Blocked
            room_id = insert_once(
                connection,
                Room,
                name=next(names),
                low_user_id=low_id,
                high_user_id=high_id,
                changed_id=0,
            )
            if room_id is not None:
                _add_pair(connection, room_id, low_id, high_id)
        # None: the pair has a room since a moment ago, or the name is taken.
        is_new = room_id is not None


def _add_pair(connection: Connection, room_id: int, *user_ids: int) -> None:
    # Only now, as the insert of the room may have waited for somebody who made it as well.
    numbers = draw(connection, len(user_ids))
    now = utcnow()
    connection.execute(
        insert(RoomMember),
        [
            {
                "room_id": room_id,
                "user_id": user_id,
                "joined_at": now,
                "joined_id": number,
                "changed_id": number,
                "read_id": number,
            }
            for user_id, number in zip(user_ids, numbers, strict=True)
        ],
    )
    connection.execute(update(Room).where(Room.id == room_id).values(created_id=numbers[-1]))


# Erasure


def ids_of_rooms(user_id: int) -> AnySelect:
    """Return a query for the rooms that a user is, or was, a member of."""
    return select(RoomMember.room_id).where(RoomMember.user_id == user_id)


def lock_rooms(connection: Connection, user_id: int) -> Collection[int]:
    """Let nothing be said in a user's rooms until the transaction ends; return their ids.

    To be done before the user's account is locked, because who stores a message locks its room
    first, and then its author.
    """
    query = select(Room.id).where(Room.id.in_(ids_of_rooms(user_id))).order_by(Room.id)
    return set(connection.scalars(query.with_for_update()))


def has_other_rooms(connection: Connection, user_id: int, room_ids: Collection[int]) -> bool:
    """Tell whether a user is in more rooms than these."""
    return not set(connection.scalars(ids_of_rooms(user_id))).issubset(room_ids)


def rename_rooms(connection: Connection, user_id: int, username: str) -> Mapping[int, str]:
    """Take a user's old name from the rooms of two that they are in.

    Args:
        connection: Of a transaction that has the rooms and the account locked.
        user_id: Whose.
        username: What they are called now.

    Returns:
        What the rooms were called, by their ids.

    Raises:
        IntegrityError: Somebody else took a name at the same moment.
    """
    other = aliased(User)
    other_id = case((Room.low_user_id == user_id, Room.high_user_id), else_=Room.low_user_id)
    members = select(Room.id, Room.name, other.username).join(other, other.id == other_id)
    rows = connection.execute(members.where(Room.id.in_(ids_of_rooms(user_id)))).all()
    nameless = {room_id: room_names(username, other_name) for room_id, _, other_name in rows}
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
    return {room_id: name for room_id, name, _ in rows}


_RENAME = update(Room).where(Room.id == bindparam("room")).values(name=bindparam("new_name"))
