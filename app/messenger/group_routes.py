"""`/messenger/api/`: groups, and who is in a room."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from app.accounts.schemas import UsernameIn
from app.accounts.services import UserNotFound
from app.accounts.tokens import current_user, login_required
from app.database.transactions import reading
from app.http.annotations import documents_error, documents_path, documents_response, returns
from app.http.conditional import conditional
from app.http.errors import Overloaded
from app.http.json import json_response
from app.http.validation import RetryIn, takes
from app.limits.rules import limited
from app.media.avatar_uploads import (
    UPLOAD_BYTES,
    StorageUnavailable,
    discard_avatar,
    save_avatar,
)
from app.messenger import chats, group_members, groups
from app.messenger.chat_routes import ROOM_NAME
from app.messenger.group_members import LastGroupAdmin, MemberNotFound
from app.messenger.groups import GroupFull, NotAGroup, NotGroupAdmin, TooManyRooms
from app.messenger.members import Membership, RoomNotFound, require_member
from app.messenger.schemas import ChatOut, GroupIn, MemberOut, RoleIn, RoomChangeIn
from app.services import services
from app.social.blocks import Blocked

bp = Blueprint("groups", __name__, url_prefix="/messenger/api")

_USERNAME: dict[str, Any] = {
    "name": "username",
    "sentence": "The login of a member, percent-encoded; case is ignored.",
    "example": "user2",
}


@bp.post("/groups/")
@login_required
@limited("groups")
@takes(GroupIn)
@takes(RetryIn, "headers")
@returns(ChatOut, 201)
@documents_response(200, "It was made already, under the same `client_id`.")
@documents_error(RoomNotFound, GroupFull, TooManyRooms, Blocked)
def create_group(body: GroupIn, headers: RetryIn) -> Response:
    """Make a group; the caller becomes its administrator.

    Everybody named in `members` is in it at once; an unknown name makes it a 400.
    """
    client_id = body.client_id or headers.key
    room_id, is_new = groups.create_group(
        current_user.id, body.title, body.members, body.history, client_id
    )
    return json_response(_chat(room_id), 201 if is_new else 200)


@bp.get("/chatrooms/<room_name>/")
@login_required
@returns(ChatOut)
@documents_path(**ROOM_NAME)
@conditional
@documents_error(RoomNotFound)
def show_room(room_name: str) -> Response:
    """Show one of the caller's rooms as `chats/` does.

    Somebody who is no member gets 404, as for a room that does not exist.
    """
    return json_response(_chat(_member(room_name).room_id))


@bp.patch("/chatrooms/<room_name>/")
@login_required
@limited("changes")
@limited("uploads", unless=lambda: request.mimetype != "multipart/form-data")
@takes(RoomChangeIn, max_bytes=UPLOAD_BYTES)
@returns(ChatOut)
@documents_path(**ROOM_NAME)
@documents_error(RoomNotFound, NotAGroup, NotGroupAdmin, StorageUnavailable, Overloaded)
def change_room(room_name: str, body: RoomChangeIn) -> Response:
    """Change title, history or picture of a group, or whether the caller hears of a room.

    Administrators of a group change the group; `muted` is the caller's own, in any room.
    """
    member = _member(room_name)
    values = {name: getattr(body, name) for name in body.model_fields_set}
    if values.keys() - {"muted"}:
        groups.check_admin(member, member.role)  # before a picture is made for nothing
    _change(member, values)
    return json_response(_chat(member.room_id))


def _change(member: Membership, values: Mapping[str, Any]) -> None:
    store = services().media
    saved = None
    if values.get("image") is not None:
        saved = save_avatar(store, values["image"].read())
        values = {**values, "image": saved}
    try:
        replaced = groups.change_room(member, values)
    except BaseException:
        discard_avatar(store, saved)
        raise
    discard_avatar(store, replaced)


@bp.get("/chatrooms/<room_name>/members/")
@login_required
@returns(list[MemberOut])
@documents_path(**ROOM_NAME)
@conditional
@documents_error(RoomNotFound)
def list_members(room_name: str) -> Response:
    """List the members of one of the caller's rooms.

    With their roles, ascending by id. It works in rooms of two as well.
    """
    return json_response(group_members.list_members(_member(room_name).room_id))


@bp.post("/chatrooms/<room_name>/members/")
@login_required
@limited("changes")
@takes(UsernameIn)
@returns(MemberOut, 201)
@documents_path(**ROOM_NAME)
@documents_response(200, "They are a member already.")
@documents_error(RoomNotFound, UserNotFound, NotAGroup, GroupFull, TooManyRooms, Blocked)
def add_member(room_name: str, body: UsernameIn) -> Response:
    """Add somebody to a group, as any member may.

    Whether they may read what was said before is for `history` of the group to say.
    """
    member, is_new = group_members.add_member(_member(room_name), body.username)
    return json_response(member, 201 if is_new else 200)


@bp.patch("/chatrooms/<room_name>/members/<username>/")
@login_required
@limited("changes")
@takes(RoleIn)
@returns(MemberOut)
@documents_path(**ROOM_NAME)
@documents_path(**_USERNAME)
@documents_error(RoomNotFound, MemberNotFound, NotAGroup, NotGroupAdmin, LastGroupAdmin)
def change_member(room_name: str, username: str, body: RoleIn) -> Response:
    """Appoint an administrator of a group, or take the appointment back.

    The last administrator of a group stays one: 409.
    """
    return json_response(group_members.change_role(_member(room_name), username, body.role))


@bp.delete("/chatrooms/<room_name>/members/<username>/")
@login_required
@limited("changes")
@returns(None, 204)
@documents_path(**ROOM_NAME)
@documents_path(**_USERNAME)
@documents_error(RoomNotFound, MemberNotFound, NotAGroup, NotGroupAdmin)
def remove_member(room_name: str, username: str) -> Response:
    """Remove somebody from a group, or leave it.

    Their sockets in the room close with 4404. The last administrator who leaves hands over to
    the longest member.
    """
    group_members.remove_member(_member(room_name), username)
    return Response(status=204)


def _member(room_name: str) -> Membership:
    return require_member(room_name, current_user.id, current_user.username)


def _chat(room_id: int) -> Mapping[str, Any]:
    with reading() as connection:
        return chats.get_chat(connection, room_id, current_user.id)
