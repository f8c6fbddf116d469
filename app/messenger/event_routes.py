"""`/messenger/api/events/` and `presence/`: what a stream brings, for those who have none."""

from flask import Blueprint, Response
from pydantic import Field

from app.accounts.tokens import current_user, login_required
from app.http.annotations import documents_header, returns
from app.http.errors import DatabaseUnavailable
from app.http.json import encode
from app.http.validation import Body, takes
from app.messenger.schemas import MessageId
from app.realtime import FramePage, HistoryUnavailableError
from app.realtime.loop import give_way, monotonic
from app.services import services

bp = Blueprint("events", __name__, url_prefix="/messenger/api")

WAIT_SECONDS_MAX = 25
LIMIT_DEFAULT, LIMIT_MAX = 100, 500
PAGE_BYTES = 1024 * 1024  # a response ends after so much; the cursor leads on
EVENTS_AT_ONCE = 25  # read at a time: a message may have 40 kB


class EventsIn(Body):
    after: MessageId = Field(description="The event id up to which the caller knows everything.")
    epoch: str | None = Field(None, description="As in `hello` or `reset` of a stream.")
    wait: MessageId = Field(0, description="Seconds to wait for an event, at most 25.")
    limit: MessageId = Field(LIMIT_DEFAULT, description="Events at most, up to 500.")


@bp.get("/events/")
@login_required
@takes(EventsIn, "query")
@returns(list[dict[str, object]])
@documents_header("X-Event-ID", "The cursor to go on with, also after an empty response.")
def list_events(query: EventsIn) -> Response:
    """List the caller's events after one, the oldest first; wait for one if there is none.

    The frames are those of the stream that have an id, `reset` included.
    """
    wait = min(query.wait, WAIT_SECONDS_MAX)
    limit = min(max(query.limit, 1), LIMIT_MAX)
    try:
        return _read_events(current_user.id, query.after, query.epoch, wait, limit)
    except HistoryUnavailableError:
        raise DatabaseUnavailable from None


def _read_events(user_id: int, after: int, epoch: str | None, wait: int, limit: int) -> Response:
    parts = services()
    newest = parts.events.newest_event_id()
    if after > newest or epoch not in (None, parts.events.epoch()):
        reset = {"type": "reset", "id": newest, "epoch": parts.events.epoch()}
        return _response([encode(reset)], newest)
    until = monotonic() + wait
    cursor, page = after, _page(user_id, after, limit)
    while not page.frames:
        cursor = page.cursor
        if page.is_last:
            left = until - monotonic()
            if left <= 0 or not parts.realtime.is_started or parts.realtime.polls.is_stopping:
                break
            if not parts.realtime.polls.wait(user_id, cursor, left):
                break
        page = _page(user_id, cursor, limit)
    return _response([frame for _, frame in page.frames], page.cursor)


def _page(user_id: int, after: int, limit: int) -> FramePage:
    # A few at a time: not more is read than a response may have, and others are served in between.
    frames: list[tuple[int, bytes]] = []
    size, cursor = 0, after
    while True:
        page = services().events.events_after(
            user_id, cursor, min(EVENTS_AT_ONCE, limit - len(frames))
        )
        for event_id, frame in page.frames:
            size += len(frame)
            if frames and size > PAGE_BYTES:
                return FramePage(frames, frames[-1][0], is_last=False)
            frames.append((event_id, frame))
        cursor = page.cursor
        if page.is_last or not page.frames or len(frames) >= limit:
            return FramePage(frames, cursor, page.is_last)
        give_way()


def _response(frames: list[bytes], cursor: int) -> Response:
    body = b"[" + b",".join(frames) + b"]"
    return Response(body, mimetype="application/json", headers={"X-Event-ID": str(cursor)})


@bp.get("/presence/")
@login_required
@returns(list[str], example=["user2"])
def list_present() -> Response:
    """List the names of those online among the people whom the caller shares a room with.

    Somebody is online while a page of theirs is in use. Who hides this from others sees
    nobody.
    """
    names = sorted(services().presence.visible_names(current_user.id).values())
    return Response(encode(names), mimetype="application/json")
