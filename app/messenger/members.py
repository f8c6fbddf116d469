"""Who is in a room. The table `memberships` alone decides who may read, write and list it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flask_babel import lazy_gettext as _
from sqlalchemy import BigInteger, Connection, Engine, bindparam, case, select, tuple_

from app.accounts.models import User
from app.accounts.tokens import TokenNotValid
from app.database.prepared import Prepared
from app.database.transactions import reading
from app.http.errors import ApiError
from app.messenger.models import Room, RoomMember
from app.social.blocks import Blocked, blocked_between


class RoomNotFound(ApiError):
    """There is no such room, or it is not yours to know of."""

    status = 404
    code = "room_not_found"
    detail = _("There is no such chat.")


@dataclass(frozen=True, slots=True)
class Membership:
    """Somebody's place in a room: only `require_member` makes one, so it says "is a member".

    Attributes:
        room_name: What the room is called in URLs and frames.
        kind: `pair` or `group`.
        role: `admin` or `member`.
        latest: The room's newest message id at that moment; 0 before the first.
        joined_id: The event id of the joining.
        visible_from: Messages up to this id are hidden from this member.
        access_version: Of the room: as long as it stands, the member may write. −1 if one of the
            two members of a room has blocked the other.
    """

    room_id: int
    user_id: int
    username: str
    room_name: str
    kind: str
    role: str
    latest: int
    joined_id: int
    visible_from: int
    access_version: int


_is_blocked = blocked_between(
    RoomMember.user_id,
    case((Room.low_user_id == RoomMember.user_id, Room.high_user_id), else_=Room.low_user_id),
)
_MEMBERSHIP = Prepared(
    select(
        Room.id,
        Room.name,
        Room.kind,
        RoomMember.role,
        Room.last_message_id,
        RoomMember.joined_id,
        RoomMember.visible_from,
        case((_is_blocked, -1), else_=Room.access_version),
    )
    .join(RoomMember, RoomMember.room_id == Room.id)
    .where(
        Room.name == bindparam("name"),
        RoomMember.user_id == bindparam("user_id", type_=BigInteger),
        RoomMember.left_id.is_(None),
    )
)


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
    room_id, *found = room
    return Membership(room_id, user_id, username, *found)


def find_rooms(names: Sequence[str], user_id: int) -> Mapping[str, int]:
    """Return the ids of several rooms of a user, by their names.

    Raises:
        RoomNotFound: One of them is not there, or is other people's.
    """
    query = (
        select(Room.name, Room.id)
        .join(RoomMember, RoomMember.room_id == Room.id)
        .where(
            Room.name.in_([name for name in names if "\0" not in name]),
            RoomMember.user_id == user_id,
            RoomMember.left_id.is_(None),
        )
    )
    with reading() as connection:
        found = dict(connection.execute(query).all())
    if len(found) < len(set(names)):
        raise RoomNotFound
    return found


def lock_membership(connection: Connection, member: Membership) -> str:
    """Lock the row of a member's room, and look whether they are still a member.

    Nobody joins or leaves, and nothing is sent, until the transaction ends. It comes before all
    other locks.

    Returns:
        The role that they have.

    Raises:
        RoomNotFound: They are no member any more.
    """
    room = select(Room.id).where(Room.id == member.room_id)
    connection.execute(room.with_for_update(key_share=True))
    place = select(RoomMember.role).where(
        RoomMember.room_id == member.room_id,
        RoomMember.user_id == member.user_id,
        RoomMember.left_id.is_(None),
    )
    role: str | None = connection.scalar(place)
    if role is None:
        raise RoomNotFound
    return role


_BLOCKED_IN = Prepared(
    select(_is_blocked.label("is_blocked"))
    .select_from(RoomMember)
    .join(Room, Room.id == RoomMember.room_id)
    .where(
        RoomMember.room_id == bindparam("room_id", type_=BigInteger),
        RoomMember.user_id == bindparam("user_id", type_=BigInteger),
    )
)


def is_blocked_in(connection: Connection, member: Membership) -> bool:
    """Tell whether there is a block between the two members of a room of two.

    With the room's row locked: somebody who blocks another waits for that lock before they are told
    that it is done.
    """
    row = _BLOCKED_IN.first(connection, {"room_id": member.room_id, "user_id": member.user_id})
    return row is not None and bool(row.is_blocked)


class Departure(NamedTuple):
    """Somebody is no member of a room any more, since an event id."""

    room_id: int
    user_id: int
    left_id: int


_DEPARTURES = Prepared(
    select(RoomMember.room_id, RoomMember.user_id, RoomMember.left_id).where(
        RoomMember.changed_id > bindparam("after", type_=BigInteger),
        RoomMember.left_id.is_not(None),
    )
)


def departures_after(engine: Engine, event_id: int) -> Sequence[Departure]:
    """Return who has left a room after an event id, and not come back."""
    with reading(engine) as connection:
        return [Departure(*row) for row in _DEPARTURES.all(connection, {"after": event_id})]


def find_writers(
    engine: Engine, places: Iterable[tuple[int, int]]
) -> Mapping[tuple[int, int], int | ApiError]:
    """Look once more whether people may write in rooms whose `access_version` has changed.

    Args:
        engine: The database.
        places: Ids of rooms and of users.

    Returns:
        For each of them the room's `access_version` with which they may write, or the error that
        they get.
    """
    wanted = set(places)
    query = (
        select(
            RoomMember.room_id,
            RoomMember.user_id,
            Room.access_version,
            User.deleted_at,
            _is_blocked.label("is_blocked"),
        )
        .join(Room, Room.id == RoomMember.room_id)
        .join(User, User.id == RoomMember.user_id)
        .where(
            tuple_(RoomMember.room_id, RoomMember.user_id).in_(wanted),
            RoomMember.left_id.is_(None),
        )
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    found: dict[tuple[int, int], int | ApiError] = {place: RoomNotFound() for place in wanted}
    for room_id, user_id, version, deleted_at, is_blocked in rows:
        found[room_id, user_id] = version
        if is_blocked:
            found[room_id, user_id] = Blocked()
        if deleted_at is not None:
            found[room_id, user_id] = TokenNotValid()
    return found
