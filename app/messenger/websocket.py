"""`/messenger/ws/ws/chat/<room_name>/`: the messages of one room, in and out.

The request ends with the upgrade. Everything that needs the database is asked before the 101
goes out, so that the cursor stands before the client can see the socket open. Then the
descriptor goes to `realtime`, and the request, its greenlet and its place in gunicorn are free
again.
"""

from typing import Any

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.accounts import tokens
from app.accounts.tokens import Caller, TokenNotValid
from app.http.annotations import undocumented
from app.http.body import decode_json
from app.http.errors import ApiError
from app.messenger.drafts import Draft, Stored
from app.messenger.handshake import (
    BadParameterError,
    Handshake,
    begin_handshake,
    credentials_of,
    number_of,
    upgrade,
)
from app.messenger.members import Membership, RoomNotFound, require_member
from app.messenger.schemas import ChatIn
from app.messenger.session import Session, client_id_of, realtime_of
from app.messenger.writer import Outcome
from app.realtime import Subscription, closing
from app.services import services

bp = Blueprint("chat", __name__)

PATH = "/messenger/ws/ws/chat/<room_name>/"


@bp.get(PATH, websocket=True)
@bp.get(PATH)  # for requests that ask for no upgrade, and are told so
@undocumented("a WebSocket is no operation of OpenAPI")
def open_chat(room_name: str) -> ResponseReturnValue:
    """Open a socket on one of the caller's rooms."""
    with begin_handshake(request) as handshake:
        try:
            caller = tokens.caller_of(credentials_of(request) or "")
            g.user_id = caller.id
            after = number_of(request, "after")
            member = require_member(room_name, caller.id, caller.username)
        except TokenNotValid:
            session = ChatSession(handshake, None, refusal=closing.UNAUTHENTICATED)
        except BadParameterError:
            session = ChatSession(handshake, None, refusal=closing.BAD_CURSOR)
        except RoomNotFound:
            session = ChatSession(handshake, None, refusal=closing.NO_SUCH_ROOM)
        else:
            session = ChatSession(handshake, caller, member)
            cursor = member.latest if after is None else min(after, member.latest)
            session.cursor = max(cursor, member.visible_from)
        return upgrade(request, session.begin)


class ChatSession(Session):
    """One client in one room: its texts go to the writer, outcomes to the client."""

    __slots__ = ("_member", "_subscription", "cursor")

    def __init__(
        self,
        handshake: Handshake,
        caller: Caller | None,
        member: Membership | None = None,
        refusal: closing.Close | None = None,
    ) -> None:
        super().__init__(handshake, caller, refusal)
        self._member = member
        self._subscription: Subscription | None = None
        self.cursor = 0

    def about(self) -> dict[str, Any]:
        return {**super().about(), "room_id": self.room_id}

    @property
    def room_id(self) -> int | None:
        return self._member.room_id if self._member else None

    @property
    def _room(self) -> Membership:
        assert self._member is not None  # noqa: S101 - or the socket would have been refused
        return self._member

    def join(self) -> None:
        room = self._room
        self._subscription = realtime_of(self._app).join(
            self._connection, room.room_id, room.latest, self.cursor
        )

    def leave(self) -> None:
        if self._subscription is not None:
            realtime_of(self._app).leave(self._room.room_id, self._subscription)
            self._subscription = None

    def take(self, text: str) -> None:
        """Hand a text to the writer, or say what is wrong with it."""
        if self.is_throttled(text):
            return
        data: Any = None
        try:
            data = decode_json(text)
            chat_in = ChatIn.parse(data)
        except ApiError as error:
            self.send_error(error, data)
            return
        room = self._room
        draft = Draft.of(room, chat_in.message, chat_in.client_id)
        self.note_unstored()
        writer = services(self._app).writer
        writer.submit(draft, lambda outcome: self._stored(draft.client_id, outcome))

    def _stored(self, client_id: str | None, outcome: Outcome) -> None:
        if not isinstance(outcome, Stored):
            self.send_error(outcome, {"client_id": client_id})
        elif outcome.is_repeat and self._subscription is not None:
            realtime_of(self._app).resend(
                outcome.room_id, self._subscription, outcome.id, outcome.payload
            )
        self.note_stored()

    def send_error(self, error: ApiError, data: Any = None) -> None:
        self.send_localized(lambda: error.frame(client_id_of(data)))
