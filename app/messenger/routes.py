"""`/messenger/api/`: rooms and messages."""

from typing import Any

from flask import Blueprint, Response
from flask_babel import lazy_gettext as _

from app.accounts.services import UserNotFound
from app.accounts.tokens import current_user, login_required
from app.database.keyset import PageRequest
from app.http.annotations import documents_error, documents_path, documents_response, returns
from app.http.conditional import conditional
from app.http.errors import BadInput, Overloaded
from app.http.fields import whole_number
from app.http.json import json_response
from app.http.pagination import (
    DEFAULT_ITEMS,
    ITEMS_MAX,
    ROOMS_MAX,
    list_response,
    page_response,
    paged,
)
from app.http.validation import RetryIn, takes
from app.limits.rules import consume_message, limited
from app.limits.status import may_throttle
from app.messenger import message_changes, messages, rooms
from app.messenger.chat_routes import ROOM_NAME
from app.messenger.members import RoomNotFound, require_member
from app.messenger.message_changes import EditTooLate, MessageNotFound, NotYours
from app.messenger.rooms import RoomWithOneself
from app.messenger.schemas import (
    EditIn,
    HistoryIn,
    MessageIn,
    MessageOut,
    RoomIn,
    RoomOut,
    history_out,
)
from app.messenger.store import MessageDeleted
from app.messenger.writer import OutcomeUnknown
from app.services import services
from app.social.blocks import Blocked

bp = Blueprint("messenger", __name__, url_prefix="/messenger/api")

MESSAGE_ID: dict[str, Any] = {
    "name": "message_id",
    "sentence": "The id of a message of that room.",
    "example": 9001,
}


@bp.post("/chatrooms/")
@login_required
@limited("changes")
@takes(RoomIn)
@returns(RoomOut, 201)
@documents_response(200, "The two have a room already.")
@documents_error(UserNotFound, RoomWithOneself, Blocked)
def open_room(body: RoomIn) -> Response:
    """Open a room with somebody, or return the one that there is.

    A pair has one room, also when both open it at the same moment. While a block stands no new
    one opens: 403.
    """
    room, is_new = rooms.open_room(current_user.id, current_user.username, body.recipient)
    return json_response(room, 201 if is_new else 200)


@bp.get("/chatrooms/")
@login_required
@returns(list[RoomOut])
@conditional
@paged(default=ROOMS_MAX, maximum=ROOMS_MAX)
def list_rooms(window: PageRequest) -> Response:
    """List the caller's rooms; an administrator's list has all rooms.

    Ascending by id. `chats/` shows the same rooms with what a list of chats needs.
    """
    listing = rooms.ALL_ROOMS if current_user.is_admin else rooms.OWN_ROOMS
    return list_response(listing, window, rooms.room_out, user_id=current_user.id)


@bp.get("/user/chatrooms/")
@login_required
@returns(list[RoomOut])
@conditional
@paged(default=ROOMS_MAX, maximum=ROOMS_MAX)
def list_own_rooms(window: PageRequest) -> Response:
    """List the caller's rooms.

    Also for an administrator only those that the caller is in.
    """
    return list_response(rooms.OWN_ROOMS, window, rooms.room_out, user_id=current_user.id)


@bp.get("/chatrooms/<room_name>/messages/")
@login_required
@takes(HistoryIn, "query")
@returns(list[MessageOut])
@documents_path(**ROOM_NAME)
@conditional
@paged(default=DEFAULT_ITEMS, maximum=ITEMS_MAX)
@documents_error(RoomNotFound, MessageNotFound)
def list_messages(window: PageRequest, room_name: str, query: HistoryIn) -> Response:
    """List the messages of one of the caller's rooms.

    Without a cursor the newest ones, oldest first. Deleted messages are left out unless
    `deleted` asks for them.
    """
    user_id, username = current_user.id, current_user.username
    if query.around is None:
        page = messages.read_messages(
            room_name, user_id, username, window, with_deleted=query.deleted
        )
    else:
        if window.before is not None or window.after is not None:
            raise BadInput({"around": [_("Not together with before or after.")]})
        member = require_member(room_name, user_id, username)
        page = messages.read_around(member, query.around, window.limit, with_deleted=query.deleted)
    return page_response(page, window, history_out)


@bp.post("/chatrooms/<room_name>/messages/")
@login_required
@takes(MessageIn)
@takes(RetryIn, "headers")
@returns(MessageOut, 201)
@documents_path(**ROOM_NAME)
@documents_response(200, "It is stored already, under the same `client_id`.")
@documents_error(RoomNotFound, MessageDeleted, OutcomeUnknown, Overloaded, Blocked)
@may_throttle
def create_message(room_name: str, body: MessageIn, headers: RetryIn) -> Response:
    """Send a message to one of the caller's rooms.

    It reaches the sockets of all members like any other. Send a `client_id`: then a repeated
    request stores nothing twice.
    """
    consume_message(current_user.id, body.content)
    client_id = body.client_id or headers.key
    member = require_member(room_name, current_user.id, current_user.username)
    stored = messages.post_message(
        member, body.content, client_id, body.reply_to, body.attachments or ()
    )
    return Response(stored.payload, 200 if stored.is_repeat else 201, mimetype="application/json")


@bp.get("/chatrooms/<room_name>/messages/<message_id>/")
@login_required
@returns(MessageOut)
@documents_path(**ROOM_NAME)
@documents_path(**MESSAGE_ID)
@conditional
@documents_error(RoomNotFound, MessageNotFound)
def show_message(room_name: str, message_id: str) -> Response:
    """Show one message.

    A message that was deleted, or that is older than the caller may read, is 404.
    """
    member = require_member(room_name, current_user.id, current_user.username)
    return json_response(message_changes.get_message(member, _number(message_id)))


@bp.patch("/chatrooms/<room_name>/messages/<message_id>/")
@login_required
@takes(EditIn)
@returns(MessageOut)
@documents_path(**ROOM_NAME)
@documents_path(**MESSAGE_ID)
@documents_error(RoomNotFound, MessageNotFound, NotYours, EditTooLate, Blocked)
@may_throttle
def edit_message(room_name: str, message_id: str, body: EditIn) -> Response:
    """Give a message of the caller's own another text.

    Within a day, unless the operator has set another time. The same text again changes
    nothing.
    """
    member = require_member(room_name, current_user.id, current_user.username)
    edit_seconds = services().config.EDIT_SECONDS
    consume_message(current_user.id, body.content)
    return json_response(
        message_changes.edit_message(member, _number(message_id), body.content, edit_seconds)
    )


@bp.delete("/chatrooms/<room_name>/messages/<message_id>/")
@login_required
@limited("changes")
@returns(None, 204)
@documents_path(**ROOM_NAME)
@documents_path(**MESSAGE_ID)
@documents_error(RoomNotFound, MessageNotFound, NotYours)
def delete_message(room_name: str, message_id: str) -> Response:
    """Delete a message: the caller's own, or as an administrator of a group.

    Its text is really gone; the second time changes nothing.
    """
    member = require_member(room_name, current_user.id, current_user.username)
    message_changes.delete_message(member, _number(message_id))
    return Response(status=204)


def _number(text: str) -> int:
    return whole_number(text) or 0  # which no message has
