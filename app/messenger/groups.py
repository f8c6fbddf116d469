"""Use cases of groups: make one, change it. Who is in it is in `group_members`."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, func, insert, select, update

from app.accounts.models import User
from app.accounts.services import lock_users_shared
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.sequence import Change, draw, write_changes
from app.database.transactions import insert_once, reading, writing
from app.http.errors import ApiError, BadInput
from app.messenger.announcements import announce
from app.messenger.members import Membership, lock_membership
from app.messenger.models import Room, RoomMember
from app.social.blocks import Blocked, find_blocked

GROUP_MEMBERS_MAX = 1_000
ROOMS_PER_USER_MAX = 1_000


class NotAGroup(ApiError):
    """A room of two has its two members for ever, and no title."""

    status = 409
    code = "not_a_group"
    detail = _("This chat is not a group.")


class NotGroupAdmin(ApiError):
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


# Making


def create_group(
    user_id: int,
    title: str,
    usernames: Sequence[str],
    history: str,
    client_id: str | None = None,
) -> tuple[int, bool]:
    """Make a group; its creator is its administrator.

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
    check_size(len(set(map(folded, usernames))))
    others = _find_users(usernames) - {user_id}
    with writing() as connection:
        lock_users_shared(connection, user_id, *others)
        if find_blocked(connection, user_id) & others:
            raise Blocked
        check_rooms_of(connection, {user_id, *others})
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


def check_size(members: int) -> None:
    """Check that a group with so many members can have one more.

    Raises:
        GroupFull: It cannot.
    """
    if members >= GROUP_MEMBERS_MAX:
        raise GroupFull


def check_rooms_of(connection: Connection, user_ids: set[int]) -> None:
    """Check that people can be in one more room.

    Raises:
        TooManyRooms: One of them cannot.
    """
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
        NotGroupAdmin: The caller is none, and more than `muted` is to be changed.
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
                changes.append(lambda number: set_room(member.room_id, changed_id=number, **new))
            if "image" in new:
                replaced = row.image
        if "muted" in values and _is_muted(connection, member) != values["muted"]:
            changes.append(
                lambda number: set_place(
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
        NotGroupAdmin: They are no administrator.
    """
    if member.kind != "group":
        raise NotAGroup
    if role != "admin":
        raise NotGroupAdmin


def set_room(room_id: int, **values: Any) -> Any:
    """Return the statement that changes a room."""
    return update(Room).where(Room.id == room_id).values(values)


def set_place(room_id: int, user_id: int, **values: Any) -> Any:
    """Return the statement that changes what somebody is in a room."""
    place = (RoomMember.room_id == room_id) & (RoomMember.user_id == user_id)
    return update(RoomMember).where(place).values(values)
