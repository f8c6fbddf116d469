"""Use cases: read and change one's own settings, which are columns of `users`."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from app.accounts.models import User
from app.accounts.tokens import TokenNotValid
from app.database.transactions import reading, writing

SETTINGS = (User.language, User.show_presence, User.show_read, User.push_text)


def get_settings(user_id: int) -> Mapping[str, Any]:
    """Return a user's settings as the API shows them.

    Raises:
        TokenNotValid: The user's account is erased.
    """
    query = select(*SETTINGS).where(User.id == user_id, User.deleted_at.is_(None))
    with reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise TokenNotValid
    return row._asdict()


def change_settings(user_id: int, changes: Mapping[str, Any]) -> None:
    """Change some of a user's settings.

    Args:
        user_id: The user.
        changes: New values by name, of some of `SETTINGS`.
    """
    if changes:
        with writing() as connection:
            connection.execute(
                update(User)
                .where(User.id == user_id, User.deleted_at.is_(None))
                .values(dict(changes))
            )
