"""The index of the search: the words of every message that is there, on either database.

It is a reader of the sequence. `search_state.indexed_to` is an event id: whatever has this number
or a smaller one is in the index. So the writer of messages pays nothing, and an indexer that was
killed goes on where it was. Edits and deletions take the old words out in their own transaction
(`forget`); the new words of an edit come in by its `changed_id`.

Each word has its room before it, as `term` says: what a question costs depends on the rooms of
the person who asks, and not on what is said in all others. The index knows no rights beside that;
who may see what is for `services.py` to say.

Beside the words stands the author, in the same form, and on PostgreSQL the part of the sequence
that the id belongs to: its index is not ordered by ids, so a question looks in the newest parts
first. `search_days` says which ids the messages of a day have.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from app.database.errors import is_unavailable
from app.database.transactions import reading, writing
from app.database.types import UtcDateTime
from app.http.json import encode
from app.messenger.search.words import words_of

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5  # between two looks for new messages
# While messages pour in, it rests nine times as long as it works: at full speed it took a fifth of
# the chat's rate. It still puts more than a thousand messages a second into the index.
REST_SHARE = 9
# Of one transaction. SQLite has one writer, and words are cut while the loop waits: 10 ms at most.
BATCH_MESSAGES = 100
BATCH_CHARS = 32 * 1024
REBUILD_TIMES = 10  # … in a process that has no loop; writers wait for each batch on SQLite
MERGED_PAGES = 100  # of the index, at a time: 20 ms
# Parts of SQLite's index, each of which a question looks through. A batch makes one, and SQLite
# merges four of a size; among a million messages there are a dozen. One large part and what came
# after it take a third of the time; to make it takes 6 s, so it is not made often.
SEGMENTS_MAX = 8
BATCHES_BETWEEN_MERGES = 10_000
PART_IDS = 16_384  # of the sequence; read marks and other events have ids as well

# One indexer works, whichever comes first ("beseda", 3).
_LOCK = 0x6265736564610003

# A message has the number of its newest state, so one that was edited meanwhile comes once.
_NEXT = text("""
    SELECT * FROM (
        SELECT * FROM (
            SELECT id, room_id, user_id, timestamp, content, deleted_at, id AS number FROM messages
            WHERE id > :after AND changed_id IS NULL ORDER BY id LIMIT :most
        ) AS new
        UNION ALL
        SELECT * FROM (
            SELECT id, room_id, user_id, timestamp, content, deleted_at, changed_id FROM messages
            WHERE changed_id > :after ORDER BY changed_id LIMIT :most
        ) AS changed
    ) AS states
    ORDER BY number LIMIT :most
""").columns(timestamp=UtcDateTime)
_INDEXED_TO = text("SELECT indexed_to FROM search_state")
_CHANGES = text("SELECT total_changes()")
_MERGE = text("INSERT INTO message_words (message_words, rank) VALUES ('merge', :pages)")
_SEGMENTS = text("SELECT count(DISTINCT segid) FROM message_words_idx")
_MOVE = text("UPDATE search_state SET indexed_to = :number")
_TRY_LOCK = text(f"SELECT pg_try_advisory_xact_lock({_LOCK})")

_FORGET = {
    "sqlite": text("DELETE FROM message_words WHERE rowid IN (SELECT value FROM json_each(:ids))"),
    "postgresql": text("DELETE FROM message_words WHERE message_id = ANY (CAST(:ids AS bigint[]))"),
}
_ADD = {
    "sqlite": text(
        "INSERT INTO message_words (rowid, words)"
        " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:rows)"
    ),
    "postgresql": text(
        "INSERT INTO message_words"
        " SELECT CAST(value ->> 0 AS bigint), CAST(value ->> 1 AS tsvector)"
        " FROM json_array_elements(CAST(:rows AS json))"
    ),
}
_WIDEN_DAYS = text("""
    INSERT INTO search_days (day, first_id, last_id) VALUES (:day, :first_id, :last_id)
    ON CONFLICT (day) DO UPDATE SET
        first_id = CASE WHEN excluded.first_id < search_days.first_id
            THEN excluded.first_id ELSE search_days.first_id END,
        last_id = CASE WHEN excluded.last_id > search_days.last_id
            THEN excluded.last_id ELSE search_days.last_id END
""")
_FIRST_ID = text("SELECT min(first_id) FROM search_days WHERE day >= :day")
_LAST_ID = text("SELECT max(last_id) FROM search_days WHERE day <= :day")


def forget(connection: Connection, message_id: int) -> None:
    """Take the words of a message out of the index, in the transaction that changes its text."""
    _forget(connection, [message_id])


def forget_traces(engine: Engine) -> None:
    """Rewrite the index of SQLite, which keeps what was taken out of it until it is merged.

    Some pages at a time, because nothing else is stored meanwhile.
    Source: https://www.sqlite.org/fts5.html, section 6.9, on merging all of an index.
    """
    pages = -MERGED_PAGES  # below 0: begin to merge all of it
    while engine.dialect.name == "sqlite":
        with writing(engine) as connection:
            before = connection.scalar(_CHANGES)
            connection.execute(_MERGE, {"pages": pages})
            if connection.scalar(_CHANGES) - before < 2:
                return
        pages = MERGED_PAGES
        sleep(0)


def merge_segments(engine: Engine) -> bool:
    """Make one part of the index of SQLite if it has many; tell whether it had."""
    if engine.dialect.name != "sqlite":
        return False
    with reading(engine) as connection:
        if connection.scalar(_SEGMENTS) <= SEGMENTS_MAX:
            return False
    forget_traces(engine)
    return True


def clear(connection: Connection) -> None:
    """Empty the index; it is built again from the first message on."""
    connection.execute(text("DELETE FROM message_words"))
    connection.execute(text("DELETE FROM search_days"))
    connection.execute(text("UPDATE search_state SET indexed_to = 0"))


def index_batch(engine: Engine, times: int = 1) -> int:
    """Put the next messages into the index.

    Args:
        engine: The database.
        times: How many times as many as a server takes, whose event loop waits for each batch.

    Returns:
        How many messages were looked at; 0 if there are none, or if another process works.
    """
    with reading(engine) as connection:
        if not _next(connection, 1, 1):
            return 0
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql" and not connection.scalar(_TRY_LOCK):
            return 0
        states = _next(connection, times * BATCH_MESSAGES, times * BATCH_CHARS)
        if not states:
            return 0
        # An edit may have been indexed in its earlier state.
        _forget(connection, [each.id for each in states])
        kept = [each for each in states if each.deleted_at is None]
        rows = [(each.id, _indexed(connection.dialect.name, each)) for each in kept]
        connection.execute(_ADD[connection.dialect.name], {"rows": encode(rows).decode()})
        _widen_days(connection, kept)
        connection.execute(_MOVE, {"number": states[-1].number})
    return len(states)


def _forget(connection: Connection, ids: Sequence[int]) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    values = encode(ids).decode() if is_sqlite else list(ids)
    connection.execute(_FORGET[connection.dialect.name], {"ids": values})


def _next(connection: Connection, most: int, chars_max: int) -> Sequence[Row[Any]]:
    after = connection.scalar(_INDEXED_TO)
    states, chars = [], 0
    with connection.execute(_NEXT, {"after": after, "most": most}) as rows:
        for row in rows:  # SQLite reads each when it is asked for: a hundred may have 4 MB
            states.append(row)
            chars += len(row.content)
            if chars > chars_max:
                break
    return states


def term(room_id: int, word: str) -> str:
    """Return how a word stands in the index; the beginning of a word makes a beginning of it."""
    return f"{room_id}_{word}"


def author_term(room_id: int, user_id: int) -> str:
    """Return how the author of a message stands in the index; no word has a `_`."""
    return f"{room_id}__{user_id}"


def part_term(part: int) -> str:
    """Return how a part of the sequence stands in the index of PostgreSQL."""
    return f"_{part}"


def part_of(message_id: int) -> int:
    """Return the number of the part of the sequence to which an id belongs."""
    return message_id // PART_IDS


def first_id_of(connection: Connection, moment: datetime) -> int | None:
    """Return the smallest id of messages of this day and of later ones, or None."""
    first_id: int | None = connection.scalar(_FIRST_ID, {"day": _day(moment)})
    return first_id


def last_id_of(connection: Connection, moment: datetime) -> int | None:
    """Return the largest id of messages of this day and of earlier ones, or None.

    At midnight a day has not begun, and the one before it is the last.
    """
    is_midnight = moment.astimezone(UTC).time() == time.min
    last_id: int | None = connection.scalar(_LAST_ID, {"day": _day(moment) - is_midnight})
    return last_id


def _day(moment: datetime) -> int:
    return moment.astimezone(UTC).toordinal()


def _widen_days(connection: Connection, states: Sequence[Row[Any]]) -> None:
    ids: dict[int, list[int]] = {}
    for each in states:
        ids.setdefault(_day(each.timestamp), []).append(each.id)
    for day, of_day in ids.items():
        values = {"day": day, "first_id": min(of_day), "last_id": max(of_day)}
        connection.execute(_WIDEN_DAYS, values)


def _indexed(dialect: str, message: Row[Any]) -> str:
    terms = [term(message.room_id, word) for word in words_of(message.content)]
    author = author_term(message.room_id, message.user_id)
    if dialect == "sqlite":
        return " ".join((*terms, author))
    # As PostgreSQL writes a tsvector (manual, 8.11.1), so that its parser, which knows host names
    # and numbers, does not cut the words otherwise.
    places = (f"'{each}':{place}" for place, each in enumerate(terms, 1))
    return " ".join((*places, f"'{author}'", f"'{part_term(part_of(message.id))}'"))


def index_all(engine: Engine, progress: Callable[[int], Any]) -> None:
    """Put all messages into the index that are not there; `progress` is told how many each time."""
    while count := index_batch(engine, REBUILD_TIMES):
        progress(count)
    merge_segments(engine)


def rebuild(engine: Engine, progress: Callable[[int], Any]) -> None:
    """Empty the index and build it again; a server may go on meanwhile."""
    with writing(engine) as connection:
        clear(connection)
    index_all(engine, progress)


def start_indexer(engine: Engine) -> None:
    """Keep the index up to date, in a thread of this worker; one worker works at a time."""
    threading.Thread(
        target=_index_forever, args=(engine,), name="search index", daemon=True
    ).start()


def _index_forever(engine: Engine) -> None:
    is_away = False
    while True:
        sleep(PAUSE_SECONDS)
        try:
            began = monotonic()
            while index_batch(engine):
                sleep(min(REST_SHARE * (monotonic() - began), PAUSE_SECONDS))
                began = monotonic()
            is_away = False
        except Exception as error:
            if not is_unavailable(error):
                log.exception("search: the index could not be written")
            elif not is_away:
                log.warning("search: the index waits for the database")
            is_away = is_unavailable(error)
