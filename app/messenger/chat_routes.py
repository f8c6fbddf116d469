"""`/messenger/api/`: the list of chats, and how far its owner has read."""

from typing import Any

from flask import Blueprint, Response

from app.accounts.tokens import current_user, login_required
from app.database.transactions import reading
from app.http.annotations import documents_error, documents_header, documents_path, returns
from app.http.conditional import conditional
from app.http.json import json_response
from app.http.validation import takes
from app.limits.rules import limited
from app.messenger import chats
from app.messenger.mark_store import Move
from app.messenger.members import RoomNotFound, find_rooms, require_member
from app.messenger.read_marks import ReadMarkWriter
from app.messenger.schemas import ChatOut, ReadIn, ReadManyIn, ReadMarkOut, UnreadIn
from app.services import services

bp = Blueprint("chats", __name__, url_prefix="/messenger/api")

EVENT_ID = "X-Event-ID"
ROOM_NAME: dict[str, Any] = {
    "name": "room_name",
    "sentence": "The `name` of a room, percent-encoded.",
    "example": "user1_user2",
}


@bp.get("/chats/")
@login_required
@returns(list[ChatOut])
@documents_header(EVENT_ID, "The event id of this list: the stream goes on from here.")
@conditional
def list_chats() -> Response:
    """List all rooms of the caller with what is unread and the newest message of each.

    The header `X-Event-ID` says which moment it shows: open the stream with `after=` that
    number, and nothing is missing.
    """
    with reading() as connection:
        found, event_id = chats.list_chats(connection, current_user.id)
    return json_response(found, headers={EVENT_ID: str(event_id)})


@bp.post("/chatrooms/<room_name>/read/")
@login_required
@limited("changes")
@takes(ReadIn)
@returns(ReadMarkOut)
@documents_path(**ROOM_NAME)
@documents_error(RoomNotFound)
def mark_read(room_name: str, body: ReadIn) -> Response:
    """Mark a room as read up to a message; a mark beyond the newest one is cut to it.

    A mark only moves forward, on all devices at once. Others in small rooms see it, if both
    show theirs.
    """
    return json_response(_moved(room_name, Move(body.read_id)))


@bp.post("/chatrooms/<room_name>/unread/")
@login_required
@limited("changes")
@takes(UnreadIn)
@returns(ReadMarkOut)
@documents_path(**ROOM_NAME)
@documents_error(RoomNotFound)
def mark_unread(room_name: str, body: UnreadIn) -> Response:
    """Mark a room as unread from a message on.

    The only way to move a mark back.
    """
    return json_response(_moved(room_name, Move(down_to=max(body.from_id - 1, 0))))


def _moved(room_name: str, move: Move) -> dict[str, int]:
    member = require_member(room_name, current_user.id, current_user.username)
    place = (member.room_id, member.user_id)
    return _writer().mark({place: move})[place]._asdict()


@bp.post("/read/")
@login_required
@limited("changes")
@takes(ReadManyIn)
@returns(dict[str, ReadMarkOut], example={"user1_user2": {"read_id": 9001, "unread": 0}})
@documents_error(RoomNotFound)
def mark_many_read(body: ReadManyIn) -> Response:
    """Mark several rooms as read; if one of them is not the caller's, none is marked.

    For a page that was offline: each room with the message up to which all is read.
    """
    wanted = body.__pydantic_extra__ or {}
    rooms = find_rooms(list(wanted), current_user.id)
    user_id = current_user.id
    moves = {(rooms[name], user_id): Move(read_id) for name, read_id in wanted.items()}
    marks = _writer().mark(moves)
    return json_response({name: marks[rooms[name], user_id]._asdict() for name in wanted})


def _writer() -> ReadMarkWriter:
    return services().read_marks
