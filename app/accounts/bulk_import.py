"""Use case: import the users of another system together with their passwords."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_babel import LazyString
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from app.accounts.models import User
from app.accounts.services import EMAIL_TAKEN, NAME_TAKEN
from app.accounts.usernames import folded
from app.database.transactions import reading, writing
from app.http.errors import FieldErrors

_KEYS_MAX = 500  # in one query


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A user of another system.

    Attributes:
        username: A `normal_username`.
        email: A `normal_email`.
        password_hash: A hash that `check_password` accepts.
        created_at: When the account was created there.
    """

    username: str
    email: str
    password_hash: str
    is_active: bool
    is_admin: bool
    created_at: datetime


class ImportRefused(Exception):
    """Some names or addresses are taken, so no user was imported.

    Attributes:
        errors: The wrong fields of each refused user, by position.
    """

    def __init__(self, errors: Mapping[int, FieldErrors]) -> None:
        super().__init__(f"{len(errors)} are taken")
        self.errors = errors


def import_users(imported_users: Sequence[ImportedUser], *, is_rehearsal: bool = False) -> None:
    """Create many accounts: all of them, or none.

    Args:
        imported_users: The users. No two of them have the same name or address, ignoring case.
        is_rehearsal: Check only, create nothing.

    Raises:
        ImportRefused: No user was imported.
    """
    rows = [
        {
            "username": each.username,
            "username_key": folded(each.username),
            "email": each.email,
            "email_key": folded(each.email),
            "password_hash": each.password_hash,
            "is_active": each.is_active,
            "is_admin": each.is_admin,
            "created_at": each.created_at,
        }
        for each in imported_users
    ]
    try:
        with writing() as connection:
            errors = _find_all_taken(connection, rows)
            if rows and not errors and not is_rehearsal:
                connection.execute(insert(User), rows)
    except IntegrityError:
        # Somebody registered between the check and the insert.
        with reading() as connection:
            errors = _find_all_taken(connection, rows)
        if not errors:
            raise
    if errors:
        raise ImportRefused(errors)


def _find_all_taken(
    connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> Mapping[int, FieldErrors]:
    errors: dict[int, dict[str, list[str | LazyString]]] = {}
    for name, key, sentence in (
        ("username", User.username_key, NAME_TAKEN),
        ("email", User.email_key, EMAIL_TAKEN),
    ):
        keys = [row[key.key] for row in rows]
        taken: set[str] = set()
        for start in range(0, len(keys), _KEYS_MAX):
            some = keys[start : start + _KEYS_MAX]
            taken |= set(connection.scalars(select(key).where(key.in_(some))))
            if name == "username":  # nobody may use another person's address as a name
                addresses = set(
                    connection.scalars(select(User.email_key).where(User.email_key.in_(some)))
                )
                taken |= addresses - {row["email_key"] for row in rows}
        for position, each in enumerate(keys):
            if each in taken:
                errors.setdefault(position, {})[name] = [sentence]
    return errors
