"""`/messenger/ws/events/`: one socket for all rooms of a person.

Everything that is visible to them comes as a typed frame with an event id, which resumes the
stream after any absence. The page `docs/websocket.md` has all frames.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _

from app.accounts import tokens
from app.accounts.tokens import Caller, TokenNotValid
from app.http.annotations import undocumented
from app.http.body import decode_json
from app.http.errors import NON_FIELD, ApiError, BadInput, DatabaseUnavailable, as_api_error
from app.http.json import encode
from app.messenger.drafts import Draft, Stored
from app.messenger.frames_in import ActiveIn, ReadIn, SendIn, TypingIn, read_frame, ref_of
from app.messenger.handshake import (
    BadParameterError,
    Handshake,
    begin_handshake,
    credentials_of,
    number_of,
    upgrade,
)
from app.messenger.mark_store import Move
from app.messenger.members import Membership, require_member
from app.messenger.messages import check_reply
from app.messenger.session import Session, client_id_of
from app.messenger.writer import Outcome
from app.realtime import BEAT_SECONDS, Close, HistoryUnavailableError, StreamSubscription, closing
from app.realtime.loop import monotonic, spawn
from app.services import services

bp = Blueprint("stream", __name__)

PATH = "/messenger/ws/events/"
TYPING_SECONDS = 3.0  # between two signs of typing in one room
ROOMS_MAX = 64  # memberships that one stream remembers


@bp.get(PATH, websocket=True)
@bp.get(PATH)  # for requests that ask for no upgrade, and are told so
@undocumented("a WebSocket is no operation of OpenAPI")
def open_stream() -> ResponseReturnValue:
    """Open the stream of the caller."""
    with begin_handshake(request) as handshake:
        try:
            caller = tokens.caller_of(credentials_of(request) or "")
            g.user_id = caller.id
            after, most = number_of(request, "after"), number_of(request, "most")
        except TokenNotValid:
            session = StreamSession(handshake, None, refusal=closing.UNAUTHENTICATED)
        except BadParameterError as error:
            refusal = closing.BAD_MOST if str(error) == "most" else closing.BAD_CURSOR
            session = StreamSession(handshake, None, refusal=refusal)
        else:
            session = StreamSession(handshake, caller)
            session.place(after, request.args.get("epoch"), most)
        return upgrade(request, session.begin)


class StreamSession(Session):
    """One client with the stream of one person."""

    __slots__ = (
        "_after",
        "_done",
        "_epoch",
        "_is_reset",
        "_latest",
        "_most",
        "_queue",
        "_rooms",
        "_stream",
        "_typed",
    )

    def __init__(
        self, handshake: Handshake, caller: Caller | None, refusal: Close | None = None
    ) -> None:
        super().__init__(handshake, caller, refusal)
        self._stream: StreamSubscription | None = None
        self._queue: deque[tuple[dict[str, Any], SendIn]] | None = None  # wait for the database
        self._rooms: dict[str, Membership] | None = None  # by name: those written to
        self._typed: dict[str, float] | None = None  # when, by room
        self._done: deque[tuple[int, bytes]] | None = None  # answers that wait for their event
        self._epoch = ""
        self._after = self._latest = 0
        self._most: int | None = None
        self._is_reset = False

    def place(self, after: int | None, epoch: str | None, most: int | None) -> None:
        """Decide where the stream begins, before its client can see it open.

        Raises:
            DatabaseUnavailable: It is not known.
        """
        events = services(self._app).events
        try:
            self._latest = events.newest_event_id()
            self._epoch = events.epoch()
        except HistoryUnavailableError:
            raise DatabaseUnavailable from None
        self._after = self._latest
        if after is not None:
            self._after = after
            self._most = most
            self._is_reset = after > self._latest or epoch not in (None, self._epoch)

    # Delivery

    def join(self) -> None:
        assert self._caller is not None  # noqa: S101 - or the socket would have been refused
        caller = self._caller
        cursor = self._latest if self._is_reset else self._after
        self._stream = StreamSubscription(self._connection, cursor, caller.id, self, self._most)
        self._send(
            {
                "type": "hello",
                "id": self._after,
                "epoch": self._epoch,
                "user": {"id": caller.id, "username": caller.username},
                "beat_seconds": int(BEAT_SECONDS),
            }
        )
        if self._is_reset:
            self.on_reset(cursor)
        services(self._app).realtime.feed.join(self._stream, self._latest)

    def leave(self) -> None:
        services(self._app).presence.forget_stream(self.user_id, id(self))
        if self._stream is not None:
            services(self._app).realtime.feed.leave(self._stream)
            self._stream = None
            self._queue = None

    def on_reset(self, cursor: int) -> None:
        """Tell the client that the stream goes on without what it has missed."""
        self._send({"type": "reset", "id": cursor, "epoch": self._epoch})

    def on_ready(self, cursor: int) -> None:
        """Tell the client that everything from here on is live."""
        self._send({"type": "ready", "id": cursor})
        self.on_cursor(cursor)

    def on_beat(self, cursor: int) -> None:
        """Tell a client that got nothing for a while that the stream lives."""
        self._send({"type": "beat", "id": cursor})
        self.on_cursor(cursor)

    def on_cursor(self, cursor: int) -> None:
        """Send the answers whose events were delivered."""
        while self._done and self._done[0][0] <= cursor:
            self._connection.send_text(self._done.popleft()[1])

    def _send(self, frame: dict[str, Any]) -> None:
        if self._stream is not None:
            self._stream.sent_at = monotonic()
        self._connection.send_text(encode(frame))

    def _finish(self, data: Any, **values: Any) -> None:
        # Answer a frame that has a `ref`.
        if (ref := ref_of(data)) is not None:
            self._send({"type": "done", "ref": ref, **values})

    def send_error(self, error: ApiError, data: Any = None) -> None:
        self.send_localized(lambda: self._error_frame(error, data))

    def _error_frame(self, error: ApiError, data: Any) -> bytes:
        frame: dict[str, Any] = {"type": "error"}
        if (ref := ref_of(data)) is not None:
            frame["ref"] = ref
        if (client_id := client_id_of(data)) is not None:
            frame["client_id"] = client_id
        detail = error.sentence()
        if isinstance(error, BadInput) and (field := next(iter(error.errors))) != NON_FIELD:
            detail = f"{field}: {detail}"
        return encode(frame | {"code": error.code, "detail": detail})

    # What the client sends

    def take(self, text: str) -> None:
        data: Any = None
        try:
            with suppress(BadInput):
                data = decode_json(text)
            is_message = isinstance(data, dict) and data.get("type") == "send"
            if self.is_throttled(text) if is_message else self._is_flood():
                return
            self._dispatch(read_frame(data if data is not None else decode_json(text)))
        except ApiError as error:
            self.send_error(error, data)

    def _is_flood(self) -> bool:
        # Frames that are no messages cost as much, and have a bucket of their own.
        if not services(self._app).limits.is_frame_flood(self.user_id):
            return False
        self._is_flooded = True
        self._connection.pause_reading()
        self._close_flooder()
        return True

    def _dispatch(self, data: dict[str, Any]) -> None:
        match data.get("type"):
            case "send":
                self._take_send(data, SendIn.parse(data))
            case "read":
                read = ReadIn.parse(data)
                spawn(self._answer, data, lambda: self._mark_read(read))
            case "typing":
                typing = TypingIn.parse(data)
                spawn(self._answer, data, lambda: self._tell_typing(typing.room))
            case "active":
                is_active = ActiveIn.parse(data).active
                services(self._app).presence.set_active(self.user_id, id(self), is_active=is_active)
                self._finish(data)
            case "ping":
                if "ref" not in data:
                    raise BadInput({"ref": [_("This field is required.")]})
                self._send({"type": "pong", "ref": data["ref"], "id": self._cursor})
            case _:
                raise BadInput({"type": [_("There is no such type of frame.")]})

    @property
    def _cursor(self) -> int:
        if self._stream is None:
            return self._after
        return services(self._app).realtime.feed.cursor_of(self._stream)

    # Sending

    def _take_send(self, data: dict[str, Any], send: SendIn) -> None:
        self.note_unstored()
        member = (self._rooms or {}).get(send.room)
        if member is not None and self._queue is None and send.reply_to is None:
            self._submit(member, data, send)
        else:
            # What comes after it waits as well: messages keep their order.
            if self._queue is None:
                self._queue = deque()
                spawn(self._work)
            self._queue.append((data, send))

    def _work(self) -> None:
        while self._queue:
            data, send = self._queue.popleft()
            try:
                with self._app.app_context():
                    member = self._require_member(send.room)
                    if send.reply_to is not None:
                        check_reply(member, send.reply_to)
                    self._submit(member, data, send)
            except Exception as error:
                self.send_error(as_api_error(error), data)
                self.note_stored()
        self._queue = None

    def _require_member(self, room_name: str) -> Membership:
        # The writer asks again whether somebody may still write, so it may be remembered.
        if self._rooms is None:
            self._rooms = {}
        member = self._rooms.get(room_name)
        if member is None:
            assert self._caller is not None  # noqa: S101 - or the socket would have been refused
            member = require_member(room_name, self._caller.id, self._caller.username)
            if len(self._rooms) >= ROOMS_MAX:
                del self._rooms[next(iter(self._rooms))]
            self._rooms[room_name] = member
        return member

    def _submit(self, member: Membership, data: dict[str, Any], send: SendIn) -> None:
        draft = Draft.of(
            member, send.content, send.client_id, send.reply_to, send.attachments or ()
        )
        services(self._app).writer.submit(
            draft, lambda outcome: self._stored(member.room_name, data, outcome)
        )

    def _stored(self, room_name: str, data: dict[str, Any], outcome: Outcome) -> None:
        if not isinstance(outcome, Stored):
            if self._rooms is not None:
                self._rooms.pop(room_name, None)  # they may be no member any more
            self.send_error(outcome, data)
        elif "ref" in data:
            frame = b'{"type":"done","ref":%b,"message":%b}' % (
                encode(data["ref"]),
                outcome.payload,
            )
            if self._done is None:
                self._done = deque()
            self._done.append((outcome.id, frame))
            self.on_cursor(self._cursor)  # the event comes first
        self.note_stored()

    # The rest

    def _answer(self, data: dict[str, Any], job: Callable[[], dict[str, Any]]) -> None:
        # Answers a frame that has to wait for the database.
        try:
            with self._app.app_context():
                values = job()
        except Exception as error:
            self.send_error(as_api_error(error), data)
        else:
            self._finish(data, **values)

    def _mark_read(self, read: ReadIn) -> dict[str, Any]:
        member = self._require_member(read.room)
        place = (member.room_id, member.user_id)
        mark = services(self._app).read_marks.mark({place: Move(read.read_id)})[place]
        return mark._asdict()

    def _tell_typing(self, room_name: str) -> dict[str, Any]:
        now = monotonic()
        if self._typed is None:
            self._typed = {}
        if now - self._typed.get(room_name, -TYPING_SECONDS) >= TYPING_SECONDS:
            member = self._require_member(room_name)
            self._typed[room_name] = now
            services(self._app).presence.tell_typing(member)
            while len(self._typed) > ROOMS_MAX:
                del self._typed[next(iter(self._typed))]
        return {}
