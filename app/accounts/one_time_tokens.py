"""Owns what invitations and password resets share: a secret that is valid for one use.

Only its hash is stored, so a reader of the tables can use none of them. It is looked up by that
hash, so the time of an answer does not tell how near a guess was.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, select

from app.accounts.models import Invitation, PasswordReset
from app.clock import utcnow

_BYTES = 16  # of randomness: nobody guesses 128 bits, so a fast hash will do


class OneTimeToken(NamedTuple):
    """A secret on its way to its user, and when it expires."""

    secret: str
    expires_at: datetime


def new(lifetime: timedelta) -> OneTimeToken:
    """Return a new token. Its letters and digits survive a mail and a phone call."""
    return OneTimeToken(secrets.token_hex(_BYTES), utcnow() + lifetime)


def hash_of(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.strip().encode(errors="surrogatepass")).hexdigest()


def delete_expired(
    connection: Connection,
    model: type[Invitation | PasswordReset],
    *conditions: ColumnElement[bool],
) -> None:
    """Delete the rows of a table that have expired and meet the other conditions."""
    # Rows that another transaction has locked are left to it: no two may wait for each other.
    expired = select(model.id).where(model.expires_at <= utcnow(), *conditions)
    connection.execute(delete(model).where(model.id.in_(expired.with_for_update(skip_locked=True))))
