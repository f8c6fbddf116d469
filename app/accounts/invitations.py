"""Owns the invitations: codes with which one person each may register."""

from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, insert, select, update

from app.accounts import one_time_tokens
from app.accounts.models import Invitation
from app.accounts.one_time_tokens import OneTimeToken
from app.clock import utcnow
from app.database.transactions import reading, writing

LIFETIME = timedelta(days=7)


def invite(lifetime: timedelta = LIFETIME) -> OneTimeToken:
    """Return the code of a new invitation, which is written down nowhere else."""
    token_row = OneTimeToken(one_time_tokens.new_secret(), utcnow() + lifetime)
    with writing() as connection:
        one_time_tokens.delete_expired(connection, Invitation, Invitation.used_by.is_(None))
        connection.execute(
            insert(Invitation).values(
                code_hash=one_time_tokens.hash_of(token_row.secret), expires_at=token_row.expires_at
            )
        )
    return token_row


def is_valid(code: str) -> bool:
    """Tell whether a code is known, not used and not expired, as far as one can see now."""
    with reading() as connection:
        return connection.execute(select(Invitation.id).where(*_good(code))).first() is not None


def redeem(connection: Connection, code: str, user_id: int) -> bool:
    """Spend a code in the transaction that makes its user; tell whether it was still good.

    Of two who have the same code the second waits for the first one's transaction here.
    """
    spent = connection.execute(update(Invitation).where(*_good(code)).values(used_by=user_id))
    return bool(spent.rowcount)


def _good(code: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Invitation.code_hash == one_time_tokens.hash_of(code),
        Invitation.used_by.is_(None),
        Invitation.expires_at > utcnow(),
    )
