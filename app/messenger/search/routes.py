"""`/messenger/api/search/`: find messages by their words."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from flask import Blueprint, Response
from flask_babel import lazy_gettext as _
from pydantic import BeforeValidator, Field

from app.accounts.tokens import current_user, login_required
from app.accounts.usernames import folded
from app.database.keyset import Page, PageRequest
from app.database.transactions import reading
from app.http.annotations import documents_error, documents_header, returns
from app.http.errors import BadInput
from app.http.fields import InSchema, NameText, RefusedField, Text, whole_number
from app.http.json import json_response
from app.http.pagination import link_header
from app.http.validation import Body, takes
from app.limits.rules import limited
from app.messenger.members import RoomNotFound, require_member
from app.messenger.schemas import MessageOut, message_out
from app.messenger.search import services as search
from app.messenger.search.words import parse

SEARCH_CHARS_MIN, SEARCH_CHARS_MAX = 2, 200
HITS, HITS_MAX = 50, 100

_NO_WORD = _("Type at least one word, of letters or digits.")
_NO_MOMENT = _("A day such as 2026-12-01 is expected, or a time such as 2026-12-01T10:00:00Z.")
_NO_NUMBER = _("A whole number from %(minimum)d on is expected.", minimum=1)

bp = Blueprint("search", __name__, url_prefix="/messenger/api")


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise RefusedField(_NO_MOMENT) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _end(value: Any) -> datetime:
    moment = _moment(value)
    is_day = isinstance(value, str) and ":" not in value and moment.time() == time()
    return moment + timedelta(days=1) if is_day else moment  # the day itself belongs to it


def _positive(value: Any) -> int:
    number = whole_number(value) if isinstance(value, str) else None
    if not number:
        raise RefusedField(_NO_NUMBER)
    return number


Moment = Annotated[datetime, BeforeValidator(_moment), InSchema(type="string", format=None)]
End = Annotated[datetime, BeforeValidator(_end), InSchema(type="string", format=None)]
Positive = Annotated[int, BeforeValidator(_positive), InSchema(type="integer", minimum=1)]


class SearchIn(Body):
    q: Annotated[Text, Field(min_length=SEARCH_CHARS_MIN, max_length=SEARCH_CHARS_MAX)] = Field(
        description="Words that a message must have, by their beginning or their stem;"
        ' `"…"` is a phrase of exact words.',
        examples=["сообщения"],
    )
    room: Text | None = Field(None, description="Only in the room with this `name`.")
    user: NameText | None = Field(None, description="Only what the user of this name has sent.")
    since: Moment | None = Field(
        None, alias="from", description="Only from this day or UTC time on."
    )
    until: End | None = Field(
        None, alias="to", description="Only up to this day, or before this UTC time."
    )
    before: Positive | None = Field(None, description="Only messages with a smaller id.")
    limit: Positive = Field(HITS, description=f"Messages at most; {HITS_MAX} if it is more.")


class HitOut(MessageOut):
    room: Annotated[str, Field(examples=["user1_user2"], description="The `name` of its room.")]


@bp.get("/search/")
@login_required
@limited("message_search")
@takes(SearchIn, "query")
@returns(list[HitOut])
@documents_header("Link", '`rel="prev"`: older messages that match.')
@documents_header("X-Search-As", "What was looked for in place of `q`, percent-encoded.")
@documents_error(RoomNotFound)
def search_messages(query: SearchIn) -> Response:
    """Find messages in the caller's rooms, the newest of them, oldest first.

    Case does not matter, nor do marks above letters. If nothing is found, what the same keys type
    in the other keyboard layout is looked for.
    """
    question = parse(query.q)
    if not question.words and not question.phrases:
        raise BadInput({"q": [_NO_WORD]})
    room = query.room
    member = require_member(room, current_user.id, current_user.username) if room else None
    asked = PageRequest(min(query.limit, HITS_MAX), before=query.before)
    wanted = search.Search(
        viewer_id=current_user.id,
        question=question,
        limit=asked.limit,
        room_id=member.room_id if member else None,
        username_key=folded(query.user) if query.user else None,
        since=query.since,
        until=query.until,
        before=asked.before,
    )
    with reading() as connection:
        rows, searched_as = search.find_in_either_layout(connection, wanted, query.q)
    page = Page(rows[: asked.limit][::-1], older=len(rows) > asked.limit, newer=False)
    headers = link_header(page, asked)
    if searched_as is not None:
        headers["X-Search-As"] = quote(searched_as)
    return json_response([_hit(row) for row in page.rows], headers=headers)


def _hit(row: Any) -> Mapping[str, Any]:
    *message, room_name = row
    return {**message_out(*message), "room": room_name}
