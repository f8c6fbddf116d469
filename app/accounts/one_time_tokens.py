"""One-time tokens, which invitations and password resets share.

Only the hash of a token is stored, so nobody can use what they read in the tables. A token is
looked up by its hash, so the response time does not tell how close a guess was.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, select

from app.accounts.models import Invitation, PasswordReset
from app.clock import utcnow

_BYTES = 16  # random ones: nobody guesses 128 bits, so a fast hash is enough


class OneTimeToken(NamedTuple):
    """A new token and the time when it expires."""

    secret: str
    expires_at: datetime


def new(lifetime: timedelta) -> OneTimeToken:
    """Return a new token. It has only digits and the letters a to f: easy to read out."""
    return OneTimeToken(secrets.token_hex(_BYTES), utcnow() + lifetime)


def hash_of(secret: str) -> str:
    """Return the hash of a token, which is stored in its place."""
    return hashlib.sha256(secret.strip().encode(errors="surrogatepass")).hexdigest()


def delete_expired(
    connection: Connection,
    model: type[Invitation | PasswordReset],
    *conditions: ColumnElement[bool],
) -> None:
    """Delete the expired rows of a table that meet the other conditions."""
    # Skip rows that another transaction has locked, so that no two wait for each other.
    expired = select(model.id).where(model.expires_at <= utcnow(), *conditions)
    connection.execute(delete(model).where(model.id.in_(expired.with_for_update(skip_locked=True))))
