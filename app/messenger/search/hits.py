"""Asks the index for what a question looks for: ids of messages, the newest first.

What one sees of those messages is for `services.py` to say; here it only spares work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from app.messenger.search.index import PART_IDS, author_term, part_of, part_term, term
from app.messenger.search.words import Question

HITS_MAX = 1_000  # ids that the index is asked for at a time
ROOMS_AT_FIRST = 64  # that are looked through; then twice as many each time
NEWEST_PARTS = 2  # of the sequence, in which PostgreSQL looks first


@dataclass(frozen=True, slots=True)
class Place:
    """A room that is looked through, and from where on."""

    room_id: int
    low: int
    last_id: int


@dataclass(frozen=True, slots=True)
class Scope:
    """Where hits may be: in which rooms, by whom, and with ids above `low` and below `before`.

    The rooms are in the order of their last messages, the newest first.
    """

    viewer_id: int
    places: Sequence[Place]
    author_id: int | None
    low: int
    before: int


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


def hits_in(
    connection: Connection, question: Question, scope: Scope, most: int
) -> Iterator[Sequence[int]]:
    """Yield ids of messages that have what is looked for, some at a time, the newest first."""
    if connection.dialect.name == "postgresql":
        # Its index is not ordered by ids. Of a frequent word few of very many messages are wanted,
        # and these are among the newest.
        last = part_of(min(scope.before - 1, max(each.last_id for each in scope.places)))
        parts = range(last - NEWEST_PARTS + 1, last + 1)
        of_parts = replace(scope, low=max(scope.low, parts[0] * PART_IDS - 1))
        hits = _newest(connection, question, of_parts, most, parts)
        if hits:
            yield hits
            scope = replace(scope, before=hits[-1])
    while True:
        hits = _newest(connection, question, scope, most)
        if hits:
            yield hits
        if len(hits) < most:
            return
        scope = replace(scope, before=hits[-1])
        most = min(2 * most, HITS_MAX)  # few of these were the right ones


def _newest(
    connection: Connection,
    question: Question,
    scope: Scope,
    most: int,
    parts: Sequence[int] = (),
) -> Sequence[int]:
    """Look through the rooms that were last written to first, and not where all is older.

    Args:
        connection: Where to look.
        question: What for.
        scope: Where it may be.
        most: How many are wanted.
        parts: Only in these parts of the sequence (PostgreSQL); if there are fewer than wanted
            in the first rooms, none are returned.
    """
    hits: list[int] = []
    places, count = scope.places, ROOMS_AT_FIRST
    while places := [each for each in places if each.last_id > scope.low]:
        some, places, count = places[:count], places[count:], 2 * count
        within = replace(scope, places=some)
        if connection.dialect.name == "sqlite":
            found = _asked_of_sqlite(connection, question, within, most)
        else:
            found = _asked_of_postgresql(connection, question, within, most, parts)
        hits = sorted((*hits, *found), reverse=True)[:most]
        if len(hits) == most:
            scope = replace(scope, low=hits[-1])
        elif parts:
            return []  # it is rare, so to ask for all of it at once costs less
    return hits


def _asked_of_sqlite(
    connection: Connection, question: Question, scope: Scope, most: int
) -> Sequence[int]:
    values = {
        "question": _for_fts5(question, scope),
        "viewer_id": scope.viewer_id,
        "low": scope.low,
        "before": scope.before,
        "most": most,
    }
    return connection.scalars(_HITS_OF_SQLITE, values).all()


def _asked_of_postgresql(
    connection: Connection, question: Question, scope: Scope, most: int, parts: Sequence[int]
) -> Sequence[int]:
    values = {
        "questions": [
            _for_postgresql(question, each.room_id, scope.author_id, parts) for each in scope.places
        ],
        "lows": [max(scope.low, each.low) for each in scope.places],
        "before": scope.before,
        "most": most,
    }
    return connection.scalars(_HITS_OF_POSTGRESQL, values).all()


# Terms have letters, digits and `_` alone, so there is nothing to be escaped.


def _for_fts5(question: Question, scope: Scope) -> str:
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
    question: Question, room_id: int, author_id: int | None, parts: Sequence[int]
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
        needed.append(" | ".join(f"'{part_term(each)}'" for each in parts))
    return " & ".join(f"({each})" for each in needed)
