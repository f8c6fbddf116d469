"""How PostgreSQL stores messages: by one statement, which is the whole transaction."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.database.prepared import AnyRow, Prepared
from app.database.sequence import LOCK, note_wait
from app.messenger.drafts import Added, Draft, OutcomeUnknownError

# One statement, so one round trip, is the whole transaction. `locked` takes the rooms in the
# order of their ids, so two workers never wait for each other in a circle; the sort in
# `added` needs all of it before the first id is drawn. A room that was locked by another
# worker meanwhile comes with the last_message_id that this one left. NO KEY: the foreign
# keys of others' messages may look at the room while we write. LEFT: a room that is not there
# breaks a foreign key, and then nothing is stored. `author` waits for an erasure that is under
# way, and sees what it has left; the count makes it come after `locked`, in whose order an
# erasure takes its locks as well. `turn` comes last: it takes the lock of the sequence and
# measures how long all of them took.
_ADD = Prepared(
    text(f"""
    WITH draft AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:rooms AS bigint[]), CAST(:users AS bigint[]),
            CAST(:contents AS text[]), CAST(:client_ids AS text[]),
            CAST(:replies AS bigint[]), CAST(:versions AS bigint[])
        ) WITH ORDINALITY
            AS draft (room_id, user_id, content, client_id, reply_to_id, version, position)
    ), locked AS MATERIALIZED (
        SELECT id, last_message_id, access_version FROM chat_rooms
        WHERE id = ANY (CAST(:rooms AS bigint[]))
        ORDER BY id
        FOR NO KEY UPDATE
    ), author AS MATERIALIZED (
        SELECT id, deleted_at FROM users
        WHERE id = ANY (CAST(:users AS bigint[])) AND (SELECT count(*) FROM locked) >= 0
        FOR KEY SHARE
    ), turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock({LOCK}), clock_timestamp() - statement_timestamp() AS waited
        FROM (SELECT count(*) AS authors FROM author) AS all_locked WHERE authors >= 0
    ), added AS (
        INSERT INTO messages (room_id, user_id, content, client_id, reply_to_id, timestamp)
        SELECT room_id, user_id, content, client_id, reply_to_id, CAST(:now AS timestamptz)
        FROM turn CROSS JOIN draft
        LEFT JOIN locked ON locked.id = draft.room_id
        LEFT JOIN author ON author.id = draft.user_id
        WHERE author.deleted_at IS NULL
            AND (locked.id IS NULL OR locked.access_version = draft.version)
        ORDER BY position
        ON CONFLICT DO NOTHING
        RETURNING id, room_id, user_id, client_id
    ), moved AS (
        UPDATE chat_rooms SET last_message_id = newest.id
        FROM (SELECT room_id, max(id) AS id FROM added GROUP BY room_id) AS newest
        WHERE chat_rooms.id = newest.room_id
    )
    SELECT added.id, room_id, user_id, client_id, last_message_id, access_version,
        CAST(extract(epoch FROM waited) AS float8)
    FROM turn CROSS JOIN added JOIN locked ON locked.id = added.room_id
    ORDER BY added.id
""")  # noqa: S608
)


def add(connection: Connection, drafts: Sequence[Draft], now: datetime) -> Added:
    """Insert those of the drafts that are new and allowed, in the order given.

    Raises:
        OutcomeUnknownError: The connection died meanwhile.
    """
    try:
        rows = _ADD.all(
            connection,
            {
                "rooms": _array(str(draft.room_id) for draft in drafts),
                "users": _array(str(draft.user_id) for draft in drafts),
                "contents": _array(_quoted(draft.content) for draft in drafts),
                "client_ids": _array(_quoted(draft.client_id) for draft in drafts),
                "replies": _array(_number(draft.reply_to_id) for draft in drafts),
                "versions": _array(str(draft.access_version) for draft in drafts),
                "now": now,
            },
        )
    except DBAPIError as error:
        if error.connection_invalidated:
            raise OutcomeUnknownError from error
        raise
    if rows:
        note_wait(rows[0][-1])
    return _matched(drafts, rows)


# Arrays as PostgreSQL reads them (manual, 8.15.6). psycopg looks at each value's type first, in
# three passes, which took as long as all else that is done here.
def _array(items: Iterable[str]) -> str:
    return f"{{{','.join(items)}}}"


def _number(number: int | None) -> str:
    return "NULL" if number is None else str(number)


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _matched(drafts: Sequence[Draft], rows: Sequence[AnyRow]) -> Added:
    # The rows come in the order of the drafts, without those that were kept out.
    inserted = set()
    versions: dict[int, int] = {}
    for _id, room_id, user_id, client_id, _last, version, _waited in rows:
        inserted.add((room_id, user_id, client_id))
        versions[room_id] = version
    left = iter(rows)
    last_ids: dict[int, int] = {}
    added: list[tuple[int, int] | None] = []
    for draft in drafts:
        if draft.key not in inserted or draft.access_version != versions[draft.room_id]:
            added.append(None)
            continue
        if draft.client_id is not None:
            inserted.remove(draft.key)  # the same one again in this batch is a repeat
        message_id, *_, before, _version, _waited = next(left)
        added.append((message_id, last_ids.get(draft.room_id, before)))
        last_ids[draft.room_id] = message_id
    return added
