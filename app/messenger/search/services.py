"""Finding messages by their words, in the rooms that one may read at the moment of asking."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Row,
    Select,
    desc,
    func,
    select,
)

from app.accounts.models import User
from app.database.types import LARGEST_ID
from app.messenger.history import MESSAGES
from app.messenger.models import Message, Room, RoomMember
from app.messenger.search.hits import Place, Scope, hits_in
from app.messenger.search.index import first_id_of, last_id_of
from app.messenger.search.words import Question, in_other_layout, parse


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and where.

    Attributes:
        viewer_id: Who asks.
        question: What the messages must have in them.
        room_id: Only there; None: in all rooms of the viewer.
        username_key: Only what this user wrote; folded.
        since: Only from this moment on.
        until: Only before this moment.
        before: Only messages with a smaller id.
        limit: The newest so many.
    """

    viewer_id: int
    question: Question
    limit: int
    room_id: int | None = None
    username_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


def find(connection: Connection, search: Search) -> Sequence[Row[Any]]:
    """Return the newest messages that match, one more than the limit if there are more.

    The index is asked for ids, and the tables for those: left to themselves, planners would rather
    read all messages of the rooms.

    Returns:
        Rows of `MESSAGES`, each with the name of its room, newest first.
    """
    found: list[Row[Any]] = []
    scope = _scope_of(connection, search)
    if scope is None:
        return found
    for hits in hits_in(connection, search.question, scope, search.limit + 1):
        found += connection.execute(_visible(search).where(Message.id.in_(hits)))
        if len(found) > search.limit:
            break
    return found[: search.limit + 1]


def _visible(search: Search) -> Select[Any]:
    return (
        MESSAGES.add_columns(Room.name)
        .join(Room, Room.id == Message.room_id)
        .join(RoomMember, RoomMember.room_id == Message.room_id)
        .where(
            RoomMember.user_id == search.viewer_id,
            RoomMember.left_id.is_(None),
            Message.id > RoomMember.visible_from,
            Message.deleted_at.is_(None),
            *_filters(search),
        )
        .order_by(Message.id.desc())
    )


def _scope_of(connection: Connection, search: Search) -> Scope | None:
    """Return where hits may be; None: nowhere."""
    author_id, low = None, 0
    before = LARGEST_ID if search.before is None else search.before
    if search.username_key is not None:
        named = select(User.id).where(User.username_key == search.username_key)
        author_id = connection.scalar(named)
        if author_id is None:
            return None
    if search.since is not None:
        first_id = first_id_of(connection, search.since)
        if first_id is None:
            return None
        low = first_id - 1
    if search.until is not None:
        last_id = last_id_of(connection, search.until)
        if last_id is None:
            return None
        before = min(before, last_id + 1)
    places = [
        Place(row.room_id, max(low, row.visible_from), row.last_id)
        for row in connection.execute(_rooms(search, author_id, before))
    ]
    return Scope(search.viewer_id, places, author_id, low, before) if places else None


def _rooms(search: Search, author_id: int | None, before: int) -> Executable:
    last_id: ColumnElement[int] = Room.last_message_id.expression
    if before < LARGEST_ID:
        in_room = select(func.max(Message.id)).where(
            Message.room_id == RoomMember.room_id, Message.id < before
        )
        last_id = in_room.scalar_subquery()
    query = (
        select(
            RoomMember.room_id, RoomMember.visible_from, func.coalesce(last_id, 0).label("last_id")
        )
        .join(Room, Room.id == RoomMember.room_id)
        .where(RoomMember.user_id == search.viewer_id, RoomMember.left_id.is_(None))
        .order_by(desc("last_id"))
    )
    if search.room_id is not None:
        query = query.where(RoomMember.room_id == search.room_id)
    if author_id is not None:
        # Also where they have left; the row stays.
        of_author = select(RoomMember.room_id).where(RoomMember.user_id == author_id)
        query = query.where(RoomMember.room_id.in_(of_author))
    return query


def find_in_either_layout(
    connection: Connection, search: Search, typed: str
) -> tuple[Sequence[Row[Any]], str | None]:
    """Find messages; if there are none, look for what the same keys type in the other layout.

    Only for a first page: a later one is of what has been found.

    Args:
        connection: Where to look.
        search: What for.
        typed: The question as it was typed.

    Returns:
        The rows, and the text that was looked for if it is not what was typed.
    """
    rows = find(connection, search)
    if rows or search.before is not None:
        return rows, None
    other = in_other_layout(typed)
    question = parse(other)
    if not question.words and not question.phrases:
        return (), None
    rows = find(connection, replace(search, question=question))
    return rows, other if rows else None


def _filters(search: Search) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if search.room_id is not None:
        filters.append(Message.room_id == search.room_id)
    if search.username_key is not None:
        filters.append(User.username_key == search.username_key)
    if search.since is not None:
        filters.append(Message.timestamp >= search.since)
    if search.until is not None:
        filters.append(Message.timestamp < search.until)
    return filters
