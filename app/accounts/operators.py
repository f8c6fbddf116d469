"""Use cases of operators at the command line: help people with their accounts."""

from sqlalchemy import select, update

from app.accounts import passwords
from app.accounts.credentials import replace_password, revoke_access
from app.accounts.models import User
from app.accounts.services import USERS, UserNotFound
from app.accounts.setup import delete_code
from app.database.transactions import reading, writing
from app.http.errors import BadInput

_IS_THERE = User.deleted_at.is_(None)  # an erased account stays closed


def set_admin(user_id: int, is_admin: bool) -> None:
    """Set whether a user is an administrator."""
    with writing() as connection:
        connection.execute(
            update(User).where(User.id == user_id, _IS_THERE).values(is_admin=is_admin)
        )
        if is_admin:
            delete_code(connection)


def set_password(user_id: int, password: str) -> None:
    """Set a user's password and log them out everywhere.

    Args:
        user_id: The user.
        password: A `strong_password`.

    Raises:
        BadInput: The password is the user's name or address.
        UserNotFound: The account is erased.
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
    """Deactivate a user; revoke all sessions and reset links."""
    with writing() as connection:
        connection.execute(update(User).where(User.id == user_id).values(is_active=False))
        revoke_access(connection, user_id)
