"""Finding messages by their words, in the rooms that one may read at the moment of asking."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    select,
    text,
)

from app.accounts.models import User
from app.database.types import LARGEST_ID
from app.messenger.history import MESSAGES
from app.messenger.models import Message, Room, RoomMember
from app.messenger.search.index import term
from app.messenger.search.words import Question, in_other_layout, parse

HITS_MAX = 1_000  # ids that the index is asked for at a time


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
    rooms = connection.scalars(_rooms(search)).all()
    found: list[Row[Any]] = []
    before = LARGEST_ID if search.before is None else search.before
    most = search.limit + 1
    while rooms and len(found) <= search.limit:
        hits = _hits(connection, search.question, rooms, before, most)
        if not hits:
            break
        found += connection.execute(_visible(search).where(Message.id.in_(hits)))
        before, most = hits[-1], min(2 * most, HITS_MAX)  # few of these were the right ones
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


def _rooms(search: Search) -> Select[Any]:
    query = select(RoomMember.room_id).where(
        RoomMember.user_id == search.viewer_id, RoomMember.left_id.is_(None)
    )
    return query if search.room_id is None else query.where(RoomMember.room_id == search.room_id)


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


_HITS = {
    "sqlite": text("""
        SELECT rowid FROM message_words WHERE message_words MATCH :question AND rowid < :before
        ORDER BY rowid DESC LIMIT :most
    """),
    "postgresql": text("""
        SELECT message_id FROM message_words
        WHERE words @@ CAST(:question AS tsquery) AND message_id + 0 < :before
        ORDER BY message_id + 0 DESC LIMIT :most
    """),  # + 0, or PostgreSQL walks all messages, newest first, to find some that match
}


def _hits(
    connection: Connection, question: Question, rooms: Sequence[int], before: int, most: int
) -> Sequence[int]:
    worded = _for_fts5 if connection.dialect.name == "sqlite" else _for_postgresql
    values = {"question": worded(question, rooms), "before": before, "most": most}
    return connection.scalars(_HITS[connection.dialect.name], values).all()


# Terms have letters, digits and `_` alone, so there is nothing to be escaped.


def _for_fts5(question: Question, rooms: Sequence[int]) -> str:
    # https://www.sqlite.org/fts5.html, section 3
    words = (
        " OR ".join(f'"{term(room_id, each)}"*' for room_id in rooms for each in choice)
        for choice in question.words
    )
    phrases = (
        " OR ".join(f'"{" ".join(term(room_id, each) for each in phrase)}"' for room_id in rooms)
        for phrase in question.phrases
    )
    return " AND ".join(f"({each})" for each in (*words, *phrases))


def _for_postgresql(question: Question, rooms: Sequence[int]) -> str:
    # PostgreSQL manual, 8.11.2
    words = (
        " | ".join(f"'{term(room_id, each)}':*" for room_id in rooms for each in choice)
        for choice in question.words
    )
    phrases = (
        " | ".join(
            f"({' <-> '.join(repr(term(room_id, each)) for each in phrase)})" for room_id in rooms
        )
        for phrase in question.phrases
    )
    return " & ".join(f"({each})" for each in (*words, *phrases))
