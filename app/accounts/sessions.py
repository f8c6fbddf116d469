"""Owns the sessions: each login opens one, and both of its tokens carry its id.

A revoked session's tokens stop working at once, because the query that finds the caller of a token
checks the session too. Its sockets are closed within a second: each worker asks once a second which
sessions were revoked (`messenger/socket_registry.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Engine, bindparam, delete, or_, select, update

from app.accounts.models import ADDRESS_CHARS, CLIENT_CHARS, Session, User
from app.clock import utcnow
from app.database.keyset import KeysetQuery
from app.database.transactions import insert_once, reading, writing
from app.http.errors import ApiError
from app.services import services

# How long the row of a revoked session stays. By then every worker has seen the revocation, or
# rejects the token when it is used.
KEPT = timedelta(days=1)

# Open sessions of one user; one more login ends the oldest. An ordinary person has fewer than ten;
# a program that logs in for each run may have thousands.
SESSIONS_MAX = 100

SESSIONS = select(
    Session.id, Session.created_at, Session.last_used_at, Session.address, Session.client
)

# The sessions of one user (`partition`) that are open at a time (`now`).
ALIVE = KeysetQuery(
    SESSIONS.where(Session.revoked_at.is_(None), Session.expires_at > bindparam("now")),
    Session.id,
    partition=Session.user_id,
)


class SessionNotFound(ApiError):
    """There is no such session, or it is another user's."""

    status = 404
    code = "session_not_found"
    detail = _("There is no such session.")


@dataclass(frozen=True, slots=True)
class Device:
    """The device of a login, as the list of sessions shows it.

    Attributes:
        address: The client's IP address, as the trusted proxies report it.
        client: Its `User-Agent`.
    """

    address: str
    client: str

    def columns(self) -> dict[str, Any]:
        """Return the values of the columns, cut to their width."""
        return {"address": self.address[:ADDRESS_CHARS], "client": self.client[:CLIENT_CHARS]}


def open_session(connection: Connection, user_id: int, device: Device) -> int:
    """Open a session in the caller's transaction and return its id.

    Args:
        connection: A transaction in which `lock_credentials` has returned True.
        user_id: The user.
        device: Where the login comes from.
    """
    now = utcnow()
    lifetime = services().config.JWT_REFRESH_TOKEN_EXPIRES
    gone = now - KEPT
    connection.execute(
        delete(Session).where(
            Session.user_id == user_id, or_(Session.expires_at < gone, Session.revoked_at < gone)
        )
    )
    _revoke_oldest(connection, user_id)
    session_id = insert_once(
        connection, Session, user_id=user_id, expires_at=now + lifetime, **device.columns()
    )
    assert session_id is not None  # noqa: S101 - only its id is unique
    return session_id


def _revoke_oldest(connection: Connection, user_id: int) -> None:
    # One less than the maximum stay, because the caller adds one.
    surplus = (
        select(Session.id)
        .where(Session.user_id == user_id, Session.revoked_at.is_(None))
        .order_by(Session.id.desc())
        .offset(SESSIONS_MAX - 1)
    )
    connection.execute(update(Session).where(Session.id.in_(surplus)).values(revoked_at=utcnow()))


def touch(session_id: int, device: Device) -> None:
    """Record when and from where a session was used, unless it has just been revoked."""
    with writing() as connection:
        connection.execute(
            update(Session)
            .where(Session.id == session_id, Session.revoked_at.is_(None))
            .values(last_used_at=utcnow(), **device.columns())
        )


def revoke(user_id: int, session_id: int) -> None:
    """Revoke one session of a user.

    Raises:
        SessionNotFound: The user has no such session, or it has ended.
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
    """Revoke all sessions of a user in the caller's transaction.

    The same transaction must have written the user's row before: `log_in` waits for that row, so
    it cannot open a session with the old credentials in between.
    """
    connection.execute(
        update(Session)
        .where(Session.user_id == user_id, Session.revoked_at.is_(None))
        .values(revoked_at=utcnow())
    )


def forget_devices(connection: Connection, user_id: int) -> None:
    """Erase addresses and clients of a user's sessions. The rows stay: workers need them.

    Call it after `revoke_all` in the same transaction: `touch` skips revoked sessions.
    """
    connection.execute(
        update(Session).where(Session.user_id == user_id).values(address="", client="")
    )


def delete_expired_of_erased(connection: Connection) -> None:
    """Delete the sessions of erased users that no worker needs any more.

    A login deletes those of its user.
    """
    erased = select(User.id).where(User.deleted_at.is_not(None))
    connection.execute(
        delete(Session).where(Session.revoked_at < utcnow() - KEPT, Session.user_id.in_(erased))
    )


def revoked_since(engine: Engine, moment: datetime) -> Sequence[int]:
    """Return the ids of the sessions that were revoked at this time or later."""
    query = select(Session.id).where(Session.revoked_at >= moment)
    with reading(engine) as connection:
        return connection.scalars(query).all()


def lock_credentials(connection: Connection, user_id: int, password_hash: str) -> bool:
    """Tell whether a user is active and still has this password hash; lock the user if so.

    A transaction that changes the password or deactivates the user then waits for this one, and
    revokes the session that this one has opened.
    """
    query = select(User.id).where(
        User.id == user_id, User.password_hash == password_hash, User.is_active
    )
    # FOR NO KEY UPDATE, not FOR SHARE: a login that rehashes the password writes the row.
    return connection.execute(query.with_for_update(key_share=True)).first() is not None
