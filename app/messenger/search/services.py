"""Finding messages by their words, in the rooms that one may read at the moment of asking."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Row,
    Select,
    select,
    text,
)

from app.accounts.models import User
from app.database.types import LARGEST_ID
from app.messenger.history import MESSAGES
from app.messenger.models import Message, Room, RoomMember
from app.messenger.search.index import (
    PART_IDS,
    author_term,
    first_id_of,
    last_id_of,
    part_of,
    part_term,
    term,
)
from app.messenger.search.words import Question, in_other_layout, parse

HITS_MAX = 1_000  # ids that the index is asked for at a time
NEWEST_PARTS = 4  # of the sequence, in which PostgreSQL looks first


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


@dataclass(frozen=True, slots=True)
class _Place:
    """A room that is looked through, and from where on."""

    room_id: int
    low: int
    last_id: int


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where hits may be: in which rooms, by whom, and with ids above `low` and below `before`."""

    viewer_id: int
    places: Sequence[_Place]
    author_id: int | None
    low: int
    before: int


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
    for hits in _hits(connection, search.question, scope, search.limit + 1):
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


def _scope_of(connection: Connection, search: Search) -> _Scope | None:
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
        _Place(row.room_id, max(low, row.visible_from), row.last_message_id)
        for row in connection.execute(_rooms(search, author_id))
    ]
    return _Scope(search.viewer_id, places, author_id, low, before) if places else None


def _rooms(search: Search, author_id: int | None) -> Executable:
    query = (
        select(RoomMember.room_id, RoomMember.visible_from, Room.last_message_id)
        .join(Room, Room.id == RoomMember.room_id)
        .where(RoomMember.user_id == search.viewer_id, RoomMember.left_id.is_(None))
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


# SQLite walks the index from the newest id down, and looks at the row of each hit: a room of which
# one sees little may have many hits before.
_HITS_OF_SQLITE = text("""
    SELECT hits.rowid FROM message_words AS hits
    CROSS JOIN messages ON messages.id = hits.rowid
    CROSS JOIN memberships ON memberships.room_id = messages.room_id
        AND memberships.user_id = :viewer_id AND messages.id > memberships.visible_from
    WHERE message_words MATCH :question AND hits.rowid > :low AND hits.rowid < :before
    ORDER BY hits.rowid DESC LIMIT :most
""")
_HITS_OF_POSTGRESQL = text("SELECT * FROM search_hits(:questions, :lows, :before, :most)")


def _hits(
    connection: Connection, question: Question, scope: _Scope, most: int
) -> Iterator[Sequence[int]]:
    """Yield ids of messages that have what is looked for, some at a time, the newest first."""
    if connection.dialect.name == "sqlite":
        terms = _for_fts5(question, scope)
        yield from _in_turn(
            lambda before, most: connection.scalars(
                _HITS_OF_SQLITE,
                {
                    "question": terms,
                    "viewer_id": scope.viewer_id,
                    "low": scope.low,
                    "before": before,
                    "most": most,
                },
            ).all(),
            scope.before,
            most,
        )
        return
    # The index is not ordered by ids. Whoever looks for a frequent word wants to see few of
    # very many messages, and these are among the newest.
    newest = min(scope.before - 1, max(each.last_id for each in scope.places))
    last = part_of(newest)
    first = last - NEWEST_PARTS + 1
    parts = [part_term(each) for each in range(first, last + 1)]
    bound = first * PART_IDS - 1
    newest_of_all = _asked_of_postgresql(connection, question, scope, bound, parts)
    yield from _in_turn(newest_of_all, scope.before, most)
    if bound > scope.low:
        all_before = _asked_of_postgresql(connection, question, scope, scope.low)
        yield from _in_turn(all_before, bound + 1, most)


def _in_turn(
    ask: Callable[[int, int], Sequence[int]], before: int, most: int
) -> Iterator[Sequence[int]]:
    while True:
        hits = ask(before, most)
        if hits:
            yield hits
        if len(hits) < most:
            return
        before, most = hits[-1], min(2 * most, HITS_MAX)  # few of these were the right ones


def _asked_of_postgresql(
    connection: Connection, question: Question, scope: _Scope, low: int, parts: Sequence[str] = ()
) -> Callable[[int, int], Sequence[int]]:
    places = [each for each in scope.places if each.last_id > low]
    values = {
        "questions": [
            _for_postgresql(question, each.room_id, scope.author_id, parts) for each in places
        ],
        "lows": [max(low, each.low) for each in places],
    }

    def ask(before: int, most: int) -> Sequence[int]:
        return connection.scalars(
            _HITS_OF_POSTGRESQL, {**values, "before": before, "most": most}
        ).all()

    return ask


# Terms have letters, digits and `_` alone, so there is nothing to be escaped.


def _for_fts5(question: Question, scope: _Scope) -> str:
    # https://www.sqlite.org/fts5.html, section 3
    rooms = [each.room_id for each in scope.places]
    words = (
        " OR ".join(f'"{term(room_id, each)}"*' for room_id in rooms for each in choice)
        for choice in question.words
    )
    phrases = (
        " OR ".join(f'"{" ".join(term(room_id, each) for each in phrase)}"' for room_id in rooms)
        for phrase in question.phrases
    )
    needed = [*words, *phrases]
    if scope.author_id is not None:
        needed.append(" OR ".join(f'"{author_term(each, scope.author_id)}"' for each in rooms))
    return " AND ".join(f"({each})" for each in needed)


def _for_postgresql(
    question: Question, room_id: int, author_id: int | None, parts: Sequence[str]
) -> str:
    # PostgreSQL manual, 8.11.2
    words = (
        " | ".join(f"'{term(room_id, each)}':*" for each in choice) for choice in question.words
    )
    phrases = (
        " <-> ".join(f"'{term(room_id, each)}'" for each in phrase) for phrase in question.phrases
    )
    needed = [*words, *phrases]
    if author_id is not None:
        needed.append(f"'{author_term(room_id, author_id)}'")
    if parts:
        needed.append(" | ".join(f"'{each}'" for each in parts))
    return " & ".join(f"({each})" for each in needed)
