"""Erases an account. `privacy/erasure.py` joins it with the other domains."""

from sqlalchemy import Connection, delete, select, update

from app.accounts import sessions
from app.accounts.credentials import WrongPassword
from app.accounts.models import Invitation, PasswordReset, User
from app.accounts.tokens import TokenNotValid
from app.accounts.usernames import erased_username
from app.clock import utcnow


def lock_user(connection: Connection, user_id: int, password_hash: str | None) -> str:
    """Lock a user's account until the caller's transaction ends.

    When this returns, all rows that refer to the user are committed;
    `services.lock_users_shared` refuses new ones.

    Args:
        connection: A transaction.
        user_id: The user.
        password_hash: The value that `confirm_password` returned; None if an operator asks.

    Returns:
        The username.

    Raises:
        TokenNotValid: The account is erased already.
        BadInput: The password was changed meanwhile.
    """
    query = select(User.username, User.password_hash).where(
        User.id == user_id, User.deleted_at.is_(None)
    )
    found = connection.execute(query.with_for_update()).one_or_none()
    if found is None:
        raise TokenNotValid
    if password_hash not in (found.password_hash, None):
        raise WrongPassword("password")
    username: str = found.username
    return username


def erase_account(connection: Connection, user_id: int) -> str:
    """Remove all personal data from an account. The row stays; nobody can log in to it.

    Args:
        connection: A transaction that holds the lock of `lock_user`.
        user_id: The user.

    Returns:
        The username of the erased account.
    """
    username = erased_username(user_id)
    connection.execute(
        update(User)
        .where(User.id == user_id)
        .values(
            username=username,
            username_key=username,
            email="",
            email_key=username,
            password_hash="",
            is_active=False,
            is_admin=False,
            language=None,
            show_presence=True,
            show_read=True,
            push_text="full",
            deleted_at=utcnow(),
        )
    )
    sessions.revoke_all(connection, user_id)
    sessions.forget_devices(connection, user_id)
    connection.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))
    connection.execute(delete(Invitation).where(Invitation.used_by == user_id))
    return username
