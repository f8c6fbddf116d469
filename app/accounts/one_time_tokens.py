"""Owns what invitations and password resets have in common: a secret that is good for one use.

Only its hash is kept, so who reads the tables can use none of them; and it is looked up by that
hash, so the time that takes tells nothing of how near a guess was.
"""

import hashlib
import secrets
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, select

from app.accounts.models import Invitation, PasswordReset
from app.clock import utcnow

_BYTES = 16  # of chance: what nobody guesses needs no slow hash either


class OneTimeToken(NamedTuple):
    """A secret, on its only way to whom it is for, and until when it is good."""

    secret: str
    expires_at: datetime


def new_secret() -> str:
    """Return a secret of its own kind: letters and digits that survive a mail and a phone call."""
    return secrets.token_hex(_BYTES)


def hash_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.strip().encode()).hexdigest()


def delete_expired(
    connection: Connection,
    model: type[Invitation | PasswordReset],
    *conditions: ColumnElement[bool],
) -> None:
    """Remove the rows of those that have expired, and what else holds."""
    # Whom another transaction holds is left to it, so that no two wait for each other.
    expired = select(model.id).where(model.expires_at <= utcnow(), *conditions)
    connection.execute(delete(model).where(model.id.in_(expired.with_for_update(skip_locked=True))))
