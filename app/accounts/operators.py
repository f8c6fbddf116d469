"""Use cases of those who run the server: what they do for people, and with them."""

from sqlalchemy import select, update

from app.accounts import passwords
from app.accounts.credentials import replace_password, revoke_access
from app.accounts.models import User
from app.accounts.services import USERS, UserNotFound
from app.database.transactions import reading, writing
from app.http.errors import BadInput

_IS_THERE = User.deleted_at.is_(None)  # who has erased the account stays away


def set_admin(user_id: int, is_admin: bool) -> None:
    """Let a user see all rooms in their list, or no longer."""
    with writing() as connection:
        connection.execute(
            update(User).where(User.id == user_id, _IS_THERE).values(is_admin=is_admin)
        )


def set_password(user_id: int, password: str) -> None:
    """Give a user a new password, and log them out everywhere.

    Args:
        user_id: Whose.
        password: A `strong_password`.

    Raises:
        BadInput: It is their name or their address.
        UserNotFound: They have erased their account.
    """
    with reading() as connection:
        user = connection.execute(USERS.where(User.id == user_id)).one_or_none()
    if user is None:
        raise UserNotFound
    if passwords.is_own_name(password, user.username, user.email):
        raise BadInput({"password": [passwords.OWN_NAME]})
    password_hash = passwords.hash_password(password)
    with writing() as connection:
        there = select(User.id).where(User.id == user_id, _IS_THERE)
        if connection.execute(there.with_for_update(key_share=True)).first() is None:
            raise UserNotFound
        replace_password(connection, user_id, password_hash)


def activate(user_id: int) -> None:
    """Let a user log in again."""
    with writing() as connection:
        connection.execute(update(User).where(User.id == user_id, _IS_THERE).values(is_active=True))


def deactivate(user_id: int) -> None:
    """Shut a user out: of every session, and of every way to a new password."""
    with writing() as connection:
        connection.execute(update(User).where(User.id == user_id).values(is_active=False))
        revoke_access(connection, user_id)
