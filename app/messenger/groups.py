"""Use cases of groups: make one, change it, say who is in it.

All of them lock the room's row first. Whoever stores a message there does the same, so what a
member sends who is being removed is either stored before, with a smaller event id, or refused.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, func, insert, select, update

from app.accounts.models import User
from app.accounts.services import get_user_by_name, lock_users_shared
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.sequence import Change, draw, write_changes
from app.database.transactions import insert_once, reading, writing
from app.http.errors import ApiError, BadInput
from app.messenger.announcements import announce
from app.messenger.members import Membership, lock_membership
from app.messenger.models import Room, RoomMember
from app.social.blocks import Blocked, find_blocked, is_blocked

GROUP_MEMBERS_MAX = 1_000
ROOMS_PER_USER_MAX = 1_000


class NotAGroup(ApiError):
    """A room of two has its two members for ever, and no title."""

    status = 409
    code = "not_a_group"
    detail = _("This chat is not a group.")


class NotAdmin(ApiError):
    """Only administrators of the group may do that."""

    status = 403
    code = "not_admin"
    detail = _("Only an administrator may do this.")


class GroupFull(ApiError):
    """The group has as many members as it may have."""

    status = 409
    code = "group_full"
    detail = _("The group cannot have more members.")


class TooManyRooms(ApiError):
    """Somebody is in as many rooms as they may be in."""

    status = 409
    code = "too_many_rooms"
    detail = _("This user cannot be in more chats.")


class LastAdmin(ApiError):
    """A group with members always has an administrator."""

    status = 409
    code = "last_admin"
    detail = _("There must be at least one administrator.")


class MemberNotFound(ApiError):
    """Nobody of that name is in the room."""

    status = 404
    code = "member_not_found"
    detail = _("This user is not in this chat.")


# Making


def create_group(
    user_id: int,
    title: str,
    usernames: Sequence[str],
    history: str,
    client_id: str | None = None,
) -> tuple[int, bool]:
    """Make a group; whoever makes it is its administrator.

    Args:
        user_id: The caller.
        title: 1 to 100 characters.
        usernames: The other members; the caller's own name and doubles are ignored.
        history: Whether newcomers may read `all` of it, or what was sent since they `joined`.
        client_id: What the client calls it: sent twice, it is made once.

    Returns:
        The id of the room, and whether it is new.

    Raises:
        BadInput: There is nobody of one of the names.
        GroupFull: There are too many.
        TooManyRooms: One of them is in too many rooms.
        Blocked: The caller and one of them have a block between them.
        TokenNotValid: The caller's account was erased meanwhile.
    """
    earlier = _find_group(user_id, client_id)
    if earlier is not None:
        return earlier, False
    if len(set(map(folded, usernames))) >= GROUP_MEMBERS_MAX:
        raise GroupFull
    others = _find_users(usernames) - {user_id}
    with writing() as connection:
        lock_users_shared(connection, user_id, *others)
        if find_blocked(connection, user_id) & others:
            raise Blocked
        _check_rooms_of(connection, {user_id, *others})
        room_id = insert_once(
            connection,
            Room,
            name=f"g~{secrets.token_hex(8)}",  # until its id is known
            kind="group",
            title=title,
            history=history,
            creator_id=user_id,
            client_id=client_id,
            changed_id=0,
        )
        if room_id is not None:
            numbers = _add_founders(connection, room_id, user_id, sorted(others))
    if room_id is None:  # the same one was made a moment ago
        return _find_group(user_id, client_id) or 0, False
    announce(numbers)
    return room_id, True


def _find_group(user_id: int, client_id: str | None) -> int | None:
    if client_id is None:
        return None
    query = select(Room.id).where(Room.creator_id == user_id, Room.client_id == client_id)
    with reading() as connection:
        found: int | None = connection.scalar(query)
    return found


def _find_users(usernames: Sequence[str]) -> set[int]:
    wanted = {folded(name): name for name in usernames}
    query = select(User.username_key, User.id).where(
        User.username_key.in_(wanted), User.deleted_at.is_(None)
    )
    with reading() as connection:
        found = dict(connection.execute(query).all())
    if unknown := [name for key, name in wanted.items() if key not in found]:
        sentence = _("There is no user called %(names)s.", names=", ".join(unknown))
        raise BadInput({"members": [sentence]})
    return set(found.values())


def _check_rooms_of(connection: Connection, user_ids: set[int]) -> None:
    query = (
        select(RoomMember.user_id)
        .where(RoomMember.user_id.in_(user_ids), RoomMember.left_id.is_(None))
        .group_by(RoomMember.user_id)
        .having(func.count() >= ROOMS_PER_USER_MAX)
        .limit(1)
    )
    if connection.scalar(query) is not None:
        raise TooManyRooms


def _add_founders(
    connection: Connection, room_id: int, user_id: int, others: Sequence[int]
) -> range:
    numbers = draw(connection, len(others) + 1)
    now = utcnow()
    connection.execute(
        insert(RoomMember),
        [
            {
                "room_id": room_id,
                "user_id": member_id,
                "role": "admin" if member_id == user_id else "member",
                "joined_at": now,
                "joined_id": number,
                "changed_id": number,
                "read_id": number,
            }
            for member_id, number in zip((user_id, *others), numbers, strict=True)
        ],
    )
    values = {"name": f"g~{room_id}", "created_id": numbers[0]}
    connection.execute(update(Room).where(Room.id == room_id).values(values))
    return numbers


# Changing


def change_room(member: Membership, values: Mapping[str, Any]) -> str | None:
    """Change a group, or whether the caller hears of a room.

    Args:
        member: The caller.
        values: `title`, `history` and `image`, the name of a picture in the media store, of the
            group; and `muted`, of the caller in any room.

    Returns:
        The name of the picture that was replaced, if one was.

    Raises:
        RoomNotFound: The caller is no member any more.
        NotAGroup: It is a room of two, and more than `muted` is to be changed.
        NotAdmin: The caller is none, and more than `muted` is to be changed.
    """
    of_room = {name: value for name, value in values.items() if name != "muted"}
    changes: list[Change] = []
    replaced = None
    with writing() as connection:
        role = lock_membership(connection, member)
        if of_room:
            check_admin(member, role)
            columns = (Room.title, Room.history, Room.image)
            row = connection.execute(select(*columns).where(Room.id == member.room_id)).one()
            new = {name: value for name, value in of_room.items() if row._mapping[name] != value}
            if new:
                changes.append(lambda number: _room(member.room_id, changed_id=number, **new))
            if "image" in new:
                replaced = row.image
        if "muted" in values and _is_muted(connection, member) != values["muted"]:
            changes.append(
                lambda number: _place(
                    member.room_id, member.user_id, changed_id=number, muted=values["muted"]
                )
            )
        numbers = write_changes(connection, changes)
    announce(numbers)
    return replaced


def _is_muted(connection: Connection, member: Membership) -> bool:
    query = select(RoomMember.muted).where(
        RoomMember.room_id == member.room_id, RoomMember.user_id == member.user_id
    )
    return bool(connection.scalar(query))


def check_admin(member: Membership, role: str) -> None:
    """Check that a member may change a group.

    Raises:
        NotAGroup: It is a room of two.
        NotAdmin: They are no administrator.
    """
    if member.kind != "group":
        raise NotAGroup
    if role != "admin":
        raise NotAdmin


def _room(room_id: int, **values: Any) -> Any:
    return update(Room).where(Room.id == room_id).values(values)


def _place(room_id: int, user_id: int, **values: Any) -> Any:
    place = (RoomMember.room_id == room_id) & (RoomMember.user_id == user_id)
    return update(RoomMember).where(place).values(values)


# Members


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


def member_out(user_id: int, username: str, role: str, joined_at: Any) -> Mapping[str, Any]:
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
        if sum(each.left_id is None for each in found.values()) >= GROUP_MEMBERS_MAX:
            raise GroupFull
        _check_rooms_of(connection, {other.id})
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
            return _place(member.room_id, other.id, **values)

        numbers = write_changes(
            connection, [join, lambda number: _room(member.room_id, changed_id=number)]
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
        NotAGroup, NotAdmin: The caller may not.
        MemberNotFound: There is no such member.
        LastAdmin: It would leave the group without an administrator.
    """
    with writing() as connection:
        check_admin(member, lock_membership(connection, member))
        places = _lock_places(connection, member.room_id)
        user_id, name = _find_member(connection, places, username)
        place = places[user_id]
        changes: list[Change] = []
        if place.role != role:
            if role != "admin" and _admins(places) == {user_id}:
                raise LastAdmin
            changes = [
                lambda number: _place(member.room_id, user_id, role=role, changed_id=number),
                lambda number: _room(member.room_id, changed_id=number),
            ]
        numbers = write_changes(connection, changes)
    announce(numbers)
    return member_out(user_id, name, role, place.joined_at)


def remove_member(member: Membership, username: str) -> None:
    """Remove somebody from a group, as its administrators may, or leave it.

    The last administrator who leaves hands over to the member who has been there longest.

    Raises:
        RoomNotFound: The caller is no member any more.
        NotAGroup, NotAdmin: The caller may not.
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
        lambda number: _place(room_id, user_id, role="member", left_id=number, changed_id=number),
        lambda number: _room(room_id, changed_id=number, access_version=Room.access_version + 1),
    ]
    stay = [
        (place.joined_at, other_id)
        for other_id, place in places.items()
        if place.left_id is None and other_id != user_id
    ]
    if stay and _admins(places) <= {user_id}:
        _since, heir_id = min(stay)
        changes.insert(1, lambda number: _place(room_id, heir_id, role="admin", changed_id=number))
    return changes


# Erasure


def leave_rooms(connection: Connection, user_id: int) -> range:
    """Let an erased user leave all groups, and tell all who know them that they have changed.

    Args:
        connection: Of a transaction that has the rooms and the account locked, and is at its end.
        user_id: Whose.

    Returns:
        The event ids, to be announced after the commit.
    """
    own = (
        select(Room.id, Room.kind, RoomMember.left_id)
        .join(RoomMember, RoomMember.room_id == Room.id)
        .where(RoomMember.user_id == user_id)
        .order_by(Room.id)
    )
    changes: list[Change] = []
    for room_id, kind, left_id in connection.execute(own).all():
        if kind == "group" and left_id is None:
            changes += _departure(room_id, user_id, _lock_places(connection, room_id))
        elif kind == "pair":
            changes.append(_renamed(room_id))
    changes.append(lambda number: update(User).where(User.id == user_id).values(changed_id=number))
    return write_changes(connection, changes)


def _renamed(room_id: int) -> Change:
    return lambda number: _room(room_id, changed_id=number, access_version=Room.access_version + 1)
