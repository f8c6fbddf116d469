"""Owns the sessions: each login is one, and its id stands in both of its tokens.

A revoked session ends its tokens at once, because whoever is asked for the caller of a
token looks at its session in the same question; and it ends its sockets, because each
worker asks once a second which sessions were revoked (`messenger/attendance.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Engine, bindparam, delete, or_, select, update

from app.accounts.models import ADDRESS_CHARS, CLIENT_CHARS, Session, User
from app.clock import utcnow
from app.database.transactions import insert_once, reading, writing
from app.http.errors import ApiError
from app.http.pagination import KeysetQuery

# How long a session that is over stays in the table. Workers that could not reach the database
# for so long have closed their sockets, or will hear of it from whoever tries to use a token.
KEPT = timedelta(days=1)

SESSIONS = select(
    Session.id, Session.created_at, Session.last_used_at, Session.address, Session.client
)

# With which a user (`of`) is logged in at a moment (`now`).
ALIVE = KeysetQuery(
    SESSIONS.where(Session.revoked_at.is_(None), Session.expires_at > bindparam("now")),
    Session.id,
    of=Session.user_id,
)


class SessionNotFound(ApiError):
    """There is no such session, or it is not yours to know of."""

    status = 404
    code = "session_not_found"
    detail = _("There is no such session.")


@dataclass(frozen=True, slots=True)
class Device:
    """Where a login comes from, as its owner will see it in the list of sessions.

    Attributes:
        address: Of the client, as far as proxies tell.
        client: What it calls itself.
    """

    address: str
    client: str

    def columns(self) -> dict[str, Any]:
        """Return what the table keeps of it."""
        return {"address": self.address[:ADDRESS_CHARS], "client": self.client[:CLIENT_CHARS]}


def begin(connection: Connection, user_id: int, device: Device, lifetime: timedelta) -> int:
    """Open a session in the caller's transaction and return its id.

    Args:
        connection: Of a transaction that has seen to it that the user may log in.
        user_id: Whose.
        device: Where from.
        lifetime: Of its refresh token.
    """
    now = utcnow()
    gone = now - KEPT
    connection.execute(
        delete(Session).where(
            Session.user_id == user_id, or_(Session.expires_at < gone, Session.revoked_at < gone)
        )
    )
    session_id = insert_once(
        connection, Session, user_id=user_id, expires_at=now + lifetime, **device.columns()
    )
    assert session_id is not None  # noqa: S101 - nothing in it is unique but its id
    return session_id


def touch(session_id: int, device: Device) -> None:
    """Note that a session was used, and where from, unless it has just been revoked."""
    with writing() as connection:
        connection.execute(
            update(Session)
            .where(Session.id == session_id, Session.revoked_at.is_(None))
            .values(last_used_at=utcnow(), **device.columns())
        )


def revoke(user_id: int, session_id: int) -> None:
    """Log a user out of one session.

    Raises:
        SessionNotFound: It is not one of the user's, or is over.
    """
    with writing() as connection:
        revoked = connection.execute(
            update(Session)
            .where(
                Session.id == session_id,
                Session.user_id == user_id,
                Session.revoked_at.is_(None),
            )
            .values(revoked_at=utcnow())
        )
    if not revoked.rowcount:
        raise SessionNotFound


def revoke_all(connection: Connection, user_id: int) -> None:
    """Log a user out of every session, in the caller's transaction.

    What makes the user's old credentials worthless has to be written before, in the same
    transaction: `log_in` waits for that row, and so no session slips in between.
    """
    connection.execute(
        update(Session)
        .where(Session.user_id == user_id, Session.revoked_at.is_(None))
        .values(revoked_at=utcnow())
    )


def forget_devices(connection: Connection, user_id: int) -> None:
    """Forget where a user was logged in; the rows are kept for who has to close their sockets.

    After `revoke_all`, in the same transaction: a session that is revoked is touched no more.
    """
    connection.execute(
        update(Session).where(Session.user_id == user_id).values(address="", client="")
    )


def sweep_erased(connection: Connection) -> None:
    """Remove the rows of erased users that no worker needs any more: they never log in again."""
    erased = select(User.id).where(User.deleted_at.is_not(None))
    connection.execute(
        delete(Session).where(Session.revoked_at < utcnow() - KEPT, Session.user_id.in_(erased))
    )


def revoked_since(engine: Engine, moment: datetime) -> Sequence[int]:
    """Return the ids of the sessions that were revoked at a moment or later."""
    query = select(Session.id).where(Session.revoked_at >= moment)
    with reading(engine) as connection:
        return connection.scalars(query).all()


def lock_credentials(connection: Connection, user_id: int, password_hash: str) -> bool:
    """Tell whether a user may still log in with the password of this hash.

    If so, it stays so until the transaction ends: whoever changes the password, or
    deactivates the user, waits for it, and then revokes what it has begun.
    """
    query = select(User.id).where(
        User.id == user_id, User.password_hash == password_hash, User.is_active
    )
    # NO KEY UPDATE and not SHARE: a login that also rehashes writes the row.
    return connection.execute(query.with_for_update(key_share=True)).first() is not None
