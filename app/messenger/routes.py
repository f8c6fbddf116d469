"""`/messenger/api/`: rooms and messages."""

from apiflask import APIBlueprint
from flask import Response, request
from flask_jwt_extended import current_user, jwt_required

from app.database import reading
from app.messenger import services
from app.messenger.history import MESSAGES
from app.messenger.models import Message, Room
from app.messenger.schemas import (
    MessageIn,
    MessageOut,
    RetryIn,
    RoomIn,
    RoomOut,
    message_out,
)
from app.pagination import DEFAULT_ITEMS, MOST_ITEMS, MOST_ROOMS, AnySelect, Window, read_page
from app.responses import json_response
from app.validation import JSON_OR_FORM

bp = APIBlueprint("messenger", __name__, url_prefix="/messenger/api")


@bp.get("/chatrooms/")
@jwt_required()
@bp.output(list[RoomOut])
def list_rooms() -> Response:
    """List the caller's rooms; an administrator's list has all rooms."""
    return _room_page(services.rooms(current_user.id, everybodys=current_user.is_admin))


@bp.get("/user/chatrooms/")
@jwt_required()
@bp.output(list[RoomOut])
def list_own_rooms() -> Response:
    """List the caller's rooms."""
    return _room_page(services.rooms(current_user.id))


def _room_page(query: AnySelect) -> Response:
    window = Window.of(request, default=MOST_ROOMS, most=MOST_ROOMS)
    with reading() as connection:
        page = read_page(connection, query, Room.id, window)
    return json_response([services.room_out(room) for room in page.rows], headers=page.link(window))


@bp.post("/chatrooms/")
@jwt_required()
@bp.input(RoomIn, location=JSON_OR_FORM)
@bp.output(RoomOut, 201)
def open_room(json_or_form_data: RoomIn) -> Response:
    """Open a room with somebody, or return the one that there is."""
    room, is_new = services.open_room(
        current_user.id, current_user.username, json_or_form_data.recipient
    )
    return json_response(room, 201 if is_new else 200)


@bp.get("/chatrooms/<room_name>/messages/")
@jwt_required()
@bp.output(list[MessageOut])
def list_messages(room_name: str) -> Response:
    """List the messages of one of the caller's rooms."""
    window = Window.of(request, default=DEFAULT_ITEMS, most=MOST_ITEMS)
    seat = services.take_seat(room_name, current_user.id, current_user.username)
    in_room = MESSAGES.where(Message.room_id == seat.room_id)
    with reading() as connection:
        page = read_page(connection, in_room, Message.id, window)
    return json_response([message_out(*row) for row in page.rows], headers=page.link(window))


@bp.post("/chatrooms/<room_name>/messages/")
@jwt_required()
@bp.input(MessageIn, location=JSON_OR_FORM)
@bp.output(MessageOut, 201)
def create_message(room_name: str, json_or_form_data: MessageIn) -> Response:
    """Send a message to one of the caller's rooms."""
    body = json_or_form_data
    client_id = body.client_id or RetryIn.parse(dict(request.headers)).key
    seat = services.take_seat(room_name, current_user.id, current_user.username)
    stored = services.post_message(seat, body.content, client_id)
    return Response(stored.payload, 200 if stored.is_repeat else 201, mimetype="application/json")
