"""Owns the invitations: codes, each of which lets one person register."""

from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, insert, select, update

from app.accounts import one_time_tokens
from app.accounts.models import Invitation
from app.accounts.one_time_tokens import OneTimeToken
from app.clock import utcnow
from app.database.transactions import reading, writing

LIFETIME = timedelta(days=7)


def invite(lifetime: timedelta = LIFETIME) -> OneTimeToken:
    """Create an invitation and return its code, of which only the hash is stored."""
    with writing() as connection:
        return invite_within(connection, lifetime)[1]


def invite_within(connection: Connection, lifetime: timedelta) -> tuple[int, OneTimeToken]:
    """Create an invitation in the caller's transaction; return its id and its code."""
    token = one_time_tokens.new(lifetime)
    one_time_tokens.delete_expired(connection, Invitation, Invitation.used_by.is_(None))
    invitation_id = connection.scalar(
        insert(Invitation)
        .values(
            code_hash=one_time_tokens.hash_of(token.secret),
            created_at=token.expires_at - lifetime,
            expires_at=token.expires_at,
        )
        .returning(Invitation.id)
    )
    return int(invitation_id or 0), token


def is_valid(code: str) -> bool:
    """Tell whether a code is known, unused and not expired."""
    with reading() as connection:
        return connection.execute(select(Invitation.id).where(*_is_open(code))).first() is not None


def redeem(connection: Connection, code: str, user_id: int) -> bool:
    """Mark a code as used, in the transaction that creates the user.

    If two transactions use the same code, the second one waits here for the first.

    Returns:
        Whether the code was still valid.
    """
    used = connection.execute(update(Invitation).where(*_is_open(code)).values(used_by=user_id))
    return bool(used.rowcount)


def _is_open(code: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Invitation.code_hash == one_time_tokens.hash_of(code),
        Invitation.used_by.is_(None),
        Invitation.expires_at > utcnow(),
    )
