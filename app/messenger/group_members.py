"""Use cases of the members of a group: list them, add, appoint and remove some, leave.

All of them lock the room's row first, as `groups` does. The transaction that
stores a message there does the same, so what a member sends who is being removed is either stored
before, with a smaller event id, or refused.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, insert, select, update

from app.accounts.models import User
from app.accounts.services import get_user_by_name, lock_users_shared
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.sequence import Change, write_changes
from app.database.transactions import reading, writing
from app.http.errors import ApiError
from app.messenger.announcements import announce
from app.messenger.groups import (
    NotAGroup,
    check_admin,
    check_rooms_of,
    check_size,
    set_place,
    set_room,
)
from app.messenger.members import Membership, lock_membership
from app.messenger.models import Room, RoomMember
from app.messenger.schemas import MemberOut
from app.social.blocks import Blocked, is_blocked


class LastGroupAdmin(ApiError):
    """A group with members always has an administrator."""

    status = 409
    code = "last_admin"
    detail = _("There must be at least one administrator.")


class MemberNotFound(ApiError):
    """Nobody of that name is in the room."""

    status = 404
    code = "member_not_found"
    detail = _("This user is not in this chat.")


def list_members(room_id: int) -> Sequence[Mapping[str, Any]]:
    """Return the members of a room as the API shows them, ascending by id."""
    query = (
        select(RoomMember.user_id, User.username, RoomMember.role, RoomMember.joined_at)
        .join(User, User.id == RoomMember.user_id)
        .where(RoomMember.room_id == room_id, RoomMember.left_id.is_(None))
        .order_by(RoomMember.user_id)
    )
    with reading() as connection:
        rows = connection.execute(query).all()
    return [member_out(*row) for row in rows]


def member_out(user_id: int, username: str, role: Any, joined_at: datetime) -> MemberOut:
    """Return a member as the API shows one."""
    return {"id": user_id, "username": username, "role": role, "joined_at": joined_at}


def add_member(member: Membership, username: str) -> tuple[Mapping[str, Any], bool]:
    """Add somebody to a group, as any member may.

    Args:
        member: The caller.
        username: The login of the other one; case is ignored.

    Returns:
        The new member as the API shows one, and whether they were not there before.

    Raises:
        UserNotFound: Nobody has that login.
        RoomNotFound: The caller is no member any more.
        NotAGroup: It is a room of two.
        GroupFull, TooManyRooms: There is no room for them.
        Blocked: The caller and the other one have a block between them.
    """
    if member.kind != "group":
        raise NotAGroup
    other = get_user_by_name(username)
    with writing() as connection:
        lock_membership(connection, member)
        lock_users_shared(connection, member.user_id, other.id)
        if is_blocked(connection, member.user_id, other.id):
            raise Blocked
        found = _lock_places(connection, member.room_id)
        place = found.get(other.id)
        if place is not None and place.left_id is None:
            return member_out(other.id, other.username, place.role, place.joined_at), False
        check_size(sum(each.left_id is None for each in found.values()))
        check_rooms_of(connection, {other.id})
        history = connection.scalar(select(Room.history).where(Room.id == member.room_id))
        now = utcnow()

        def join(number: int) -> Any:
            values = {
                "role": "member",
                "joined_at": now,
                "joined_id": number,
                "changed_id": number,
                "read_id": number,
                "visible_from": number if history == "joined" else 0,
                "left_id": None,
            }
            if place is None:
                return insert(RoomMember).values(room_id=member.room_id, user_id=other.id, **values)
            return set_place(member.room_id, other.id, **values)

        numbers = write_changes(
            connection, [join, lambda number: set_room(member.room_id, changed_id=number)]
        )
    announce(numbers)
    return member_out(other.id, other.username, "member", now), True


def _lock_places(connection: Connection, room_id: int) -> Mapping[int, Row[*tuple[Any, ...]]]:
    # Of all who are or were members, so that nobody else changes a role meanwhile.
    query = (
        select(RoomMember.user_id, RoomMember.role, RoomMember.joined_at, RoomMember.left_id)
        .where(RoomMember.room_id == room_id)
        .order_by(RoomMember.room_id, RoomMember.user_id)
        .with_for_update(key_share=True)
    )
    return {row.user_id: row for row in connection.execute(query)}


def change_role(member: Membership, username: str, role: str) -> Mapping[str, Any]:
    """Appoint a member of a group, or take the appointment back.

    Raises:
        RoomNotFound: The caller is no member any more.
        NotAGroup, NotGroupAdmin: The caller may not.
        MemberNotFound: There is no such member.
        LastGroupAdmin: It would leave the group without an administrator.
    """
    with writing() as connection:
        check_admin(member, lock_membership(connection, member))
        places = _lock_places(connection, member.room_id)
        user_id, name = _find_member(connection, places, username)
        place = places[user_id]
        changes: list[Change] = []
        if place.role != role:
            if role != "admin" and _admins(places) == {user_id}:
                raise LastGroupAdmin
            changes = [
                lambda number: set_place(member.room_id, user_id, role=role, changed_id=number),
                lambda number: set_room(member.room_id, changed_id=number),
            ]
        numbers = write_changes(connection, changes)
    announce(numbers)
    return member_out(user_id, name, role, place.joined_at)


def remove_member(member: Membership, username: str) -> None:
    """Remove somebody from a group, as its administrators may, or leave it.

    The last administrator who leaves hands over to the member who has been there longest.

    Raises:
        RoomNotFound: The caller is no member any more.
        NotAGroup, NotGroupAdmin: The caller may not.
        MemberNotFound: There is no such member.
    """
    with writing() as connection:
        role = lock_membership(connection, member)
        if member.kind != "group":
            raise NotAGroup
        is_leaving = folded(username) == folded(member.username)
        if not is_leaving:
            check_admin(member, role)
        places = _lock_places(connection, member.room_id)
        user_id, _name = _find_member(connection, places, username)
        changes = _departure(member.room_id, user_id, places)
        numbers = write_changes(connection, changes)
    announce(numbers)


def _find_member(
    connection: Connection, places: Mapping[int, Row[*tuple[Any, ...]]], username: str
) -> tuple[int, str]:
    query = select(User.id, User.username).where(User.username_key == folded(username))
    user = connection.execute(query).one_or_none()
    if user is None or user.id not in places or places[user.id].left_id is not None:
        raise MemberNotFound
    return user.id, user.username


def _admins(places: Mapping[int, Row[*tuple[Any, ...]]]) -> set[int]:
    return {
        user_id
        for user_id, place in places.items()
        if place.role == "admin" and place.left_id is None
    }


def _departure(
    room_id: int, user_id: int, places: Mapping[int, Row[*tuple[Any, ...]]]
) -> list[Change]:
    changes: list[Change] = [
        lambda number: set_place(
            room_id, user_id, role="member", left_id=number, changed_id=number
        ),
        lambda number: set_room(room_id, changed_id=number, access_version=Room.access_version + 1),
    ]
    stay = [
        (place.joined_at, other_id)
        for other_id, place in places.items()
        if place.left_id is None and other_id != user_id
    ]
    if stay and _admins(places) <= {user_id}:
        _since, heir_id = min(stay)
        changes.insert(
            1, lambda number: set_place(room_id, heir_id, role="admin", changed_id=number)
        )
    return changes


# Erasure


def leave_rooms(
    connection: Connection, user_id: int, old_name: str, old_room_names: Mapping[int, str]
) -> tuple[range, Mapping[int, str]]:
    """Let an erased user leave all groups, and tell all who know them that they have changed.

    Args:
        connection: Of a transaction that has the rooms and the account locked, and is at its end.
        user_id: Whose.
        old_name: What the user was called.
        old_room_names: What their rooms of two were called, by id.

    Returns:
        The event ids and the old names by these, to be announced after the commit.
    """
    own = (
        select(Room.id, Room.kind, RoomMember.left_id)
        .join(RoomMember, RoomMember.room_id == Room.id)
        .where(RoomMember.user_id == user_id)
        .order_by(Room.id)
    )
    changes: list[Change] = []
    old_names: dict[int, str] = {}  # by the position of the change
    for room_id, kind, left_id in connection.execute(own).all():
        if kind == "group" and left_id is None:
            changes += _departure(room_id, user_id, _lock_places(connection, room_id))
        elif kind == "pair":
            old_names[len(changes)] = old_room_names[room_id]
            changes.append(_renamed(room_id))
    old_names[len(changes)] = old_name
    changes.append(lambda number: update(User).where(User.id == user_id).values(changed_id=number))
    numbers = write_changes(connection, changes)
    return numbers, {numbers[position]: name for position, name in old_names.items()}


def _renamed(room_id: int) -> Change:
    return lambda number: set_room(
        room_id, changed_id=number, access_version=Room.access_version + 1
    )
