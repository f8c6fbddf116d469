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
    if connection.dialect.name == "sqlite":
        yield from _in_turn(connection, question, scope, most)
        return
    # The index is not ordered by ids. Whoever looks for a frequent word wants to see few of
    # very many messages, and these are among the newest.
    newest = min(scope.before - 1, max(each.last_id for each in scope.places))
    last = part_of(newest)
    first = last - NEWEST_PARTS + 1
    parts = [part_term(each) for each in range(first, last + 1)]
    bound = first * PART_IDS - 1
    of_newest = replace(scope, low=max(scope.low, bound))
    yield from _in_turn(connection, question, of_newest, most, parts)
    if bound > scope.low:
        yield from _in_turn(connection, question, replace(scope, before=bound + 1), most)


def _in_turn(
    connection: Connection, question: Question, scope: Scope, most: int, parts: Sequence[str] = ()
) -> Iterator[Sequence[int]]:
    while True:
        hits = _newest(connection, question, scope, most, parts)
        if hits:
            yield hits
        if len(hits) < most:
            return
        scope = replace(scope, before=hits[-1])
        most = min(2 * most, HITS_MAX)  # few of these were the right ones


def _newest(
    connection: Connection, question: Question, scope: Scope, most: int, parts: Sequence[str]
) -> Sequence[int]:
    """Look through the rooms that were last written to first, and not where all is older."""
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
    connection: Connection, question: Question, scope: Scope, most: int, parts: Sequence[str]
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
