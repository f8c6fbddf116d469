"""Finds out who is to be notified: a reader of the sequence, as the index of the search is one.

`push_state.told_to` is the id of a message: whatever has this id or a smaller one is settled. So
the writer of messages pays nothing, and a restart loses no notification. One worker of the whole
installation reads, the one that holds the lease of the row; the others try to take it over.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, String, Text, bindparam, column, text

from app.database.prepared import Prepared
from app.database.transactions import insert_once
from app.database.types import UtcDateTime
from app.notifications.models import PushState
from app.notifications.queue import Job

LEASE_SECONDS = 30  # after which another worker may read, if its holder says nothing more
BATCH_MESSAGES = 100

_ROW = 1
# The database's clock, because those of machines differ.
_NOW = {
    "sqlite": "CAST(strftime('%s', 'now') AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS bigint)",
}
_TAKE = {
    dialect: text(
        f"UPDATE push_state SET holder = :me, held_until = {now} + {LEASE_SECONDS}"  # noqa: S608
        f" WHERE id = {_ROW} AND (holder = :me OR held_until < {now}) RETURNING told_to"
    )
    for dialect, now in _NOW.items()
}
_SETTLE = text("UPDATE push_state SET told_to = :told_to WHERE holder = :me")
_RELEASE = text("UPDATE push_state SET held_until = 0 WHERE holder = :me")
_NEWEST = Prepared(text("SELECT coalesce(max(id), 0) FROM messages"))
_IS_NEEDED = Prepared(text("SELECT 1 FROM push_subscriptions LIMIT 1"))

_END_OF_BATCH = Prepared(
    text(f"""
    SELECT id FROM messages WHERE id > CAST(:after AS bigint) AND id <= CAST(:upto AS bigint)
    ORDER BY id LIMIT 1 OFFSET {BATCH_MESSAGES - 1}
""")  # noqa: S608
)

# Messages are put together by room and author first: a room that is full of talk has a thousand
# members, and few of them write.
_CONCERNED = Prepared(
    text("""
    SELECT spoken.room_id, spoken.first_id, spoken.last_id, subscription.id, member.user_id
    FROM (
        SELECT room_id, user_id, min(id) AS first_id, max(id) AS last_id FROM messages
        WHERE id > CAST(:after AS bigint) AND id <= CAST(:upto AS bigint)
            AND deleted_at IS NULL AND timestamp > :oldest
        GROUP BY room_id, user_id
    ) AS spoken
    JOIN memberships AS member ON member.room_id = spoken.room_id
        AND member.user_id <> spoken.user_id AND member.left_id IS NULL AND NOT member.muted
        AND member.read_id < spoken.last_id
    JOIN push_subscriptions AS subscription ON subscription.user_id = member.user_id
    ORDER BY spoken.first_id
""").bindparams(bindparam("oldest", type_=UtcDateTime))
)


class Lease:
    """The right of one worker to read. Each method is one transaction of its caller."""

    def __init__(self) -> None:
        self._me = secrets.token_hex(16)

    def take(self, connection: Connection) -> int | None:
        """Take the lease, or keep it.

        Returns:
            The id up to which everything is settled; None if another worker reads.
        """
        told_to = self._take(connection)
        if told_to is None and begin(connection):
            told_to = self._take(connection)
        return told_to

    def settle(self, connection: Connection, told_to: int) -> None:
        """Note up to which message everything is settled."""
        connection.execute(_SETTLE, {"told_to": told_to, "me": self._me})

    def release(self, connection: Connection) -> None:
        """Let another worker read at once."""
        connection.execute(_RELEASE, {"me": self._me})

    def _take(self, connection: Connection) -> int | None:
        told_to: int | None = connection.scalar(_TAKE[connection.dialect.name], {"me": self._me})
        return told_to


def begin(connection: Connection) -> bool:
    """Begin to notify with the next message, if that has not begun yet.

    Returns:
        Whether it begins now.
    """
    values = {"told_to": newest_id(connection), "holder": "", "held_until": 0}
    return insert_once(connection, PushState, id=_ROW, **values) is not None


def is_needed(connection: Connection) -> bool:
    """Tell whether there is anybody to notify."""
    return _IS_NEEDED.first(connection, {}) is not None


def newest_id(connection: Connection) -> int:
    """Return the id of the newest message; 0 if there is none."""
    newest: int = _NEWEST.all(connection, {})[0][0]
    return newest


def read_batch(
    connection: Connection, after: int, upto: int, oldest: datetime
) -> tuple[int, Sequence[Job]]:
    """Return who may have to be notified of the next messages.

    Args:
        connection: The database.
        after: The id that was read to.
        upto: The last id that is ripe.
        oldest: What was sent earlier interests nobody any more.

    Returns:
        The id that is read to now, and whom it concerns, by the oldest message.
    """
    end = _END_OF_BATCH.first(connection, {"after": after, "upto": upto})
    upto = end[0] if end else upto
    rows = _CONCERNED.all(connection, {"after": after, "upto": upto, "oldest": oldest})
    return upto, [
        Job(subscription_id, user_id, room_id, first_id, last_id)
        for room_id, first_id, last_id, subscription_id, user_id in rows
    ]


# What there is to be said at the moment of sending: rights, blocks and marks may have changed.
_DUE = Prepared(
    text("""
    SELECT
        subscription.endpoint, subscription.p256dh, subscription.auth,
        person.language, person.push_text,
        room.name AS room, room.kind, room.title, author.username AS author, message.content
    FROM push_subscriptions AS subscription
    JOIN sessions AS session ON session.id = subscription.session_id
        AND session.revoked_at IS NULL AND session.expires_at > :now
    JOIN users AS person ON person.id = subscription.user_id AND person.is_active
    JOIN memberships AS member ON member.user_id = person.id
        AND member.room_id = CAST(:room_id AS bigint)
        AND member.left_id IS NULL AND NOT member.muted
    JOIN chat_rooms AS room ON room.id = member.room_id
    JOIN messages AS message ON message.room_id = member.room_id
        AND message.id >= CAST(:first_id AS bigint) AND message.id <= CAST(:last_id AS bigint)
        AND message.id > member.read_id AND message.id > member.joined_id
        AND message.user_id <> person.id
        AND message.deleted_at IS NULL AND message.timestamp > :oldest
    JOIN users AS author ON author.id = message.user_id
    WHERE subscription.id = CAST(:subscription_id AS bigint)
        AND NOT EXISTS (
            SELECT 1 FROM blocks
            WHERE (owner_id = person.id AND blocked_id = author.id)
                OR (owner_id = author.id AND blocked_id = person.id)
        )
    ORDER BY message.id DESC LIMIT 1
""")
    .bindparams(bindparam("now", type_=UtcDateTime), bindparam("oldest", type_=UtcDateTime))
    .columns(
        *(column(name, String) for name in ("endpoint", "p256dh", "auth")),
        *(column(name, String) for name in ("language", "push_text")),
        *(column(name, String) for name in ("room", "kind", "title", "author")),
        column("content", Text),
    )
)


def find_due(connection: Connection, job: Job, now: datetime, oldest: datetime) -> Any:
    """Return what is to be said; None if there is nothing to say any more.

    Args:
        connection: The database.
        job: Whom, and of which messages.
        now: The time.
        oldest: What was sent earlier interests nobody any more.
    """
    values = {
        "subscription_id": job.subscription_id,
        "room_id": job.room_id,
        "first_id": job.first_id,
        "last_id": job.last_id,
        "now": now,
        "oldest": oldest,
    }
    return _DUE.first(connection, values)
