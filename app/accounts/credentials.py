"""Use cases: change one's own password or e-mail address, and confirm one's password.

A stolen access token must not be enough to take over the account, so each use case requires the
password.
"""

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.exc import IntegrityError

from app.accounts import notices, passwords, sessions
from app.accounts.models import PasswordReset, User
from app.accounts.passwords import OWN_NAME, is_own_name
from app.accounts.services import EMAIL_TAKEN
from app.accounts.sessions import Device
from app.accounts.usernames import folded
from app.database.transactions import reading, writing
from app.http.errors import BadInput


class WrongPassword(BadInput):
    """The user typed a wrong password."""

    def __init__(self, field: str) -> None:
        super().__init__({field: [_("This is not your password.")]})


def change_password(user_id: int, old: str, new: str, device: Device) -> int:
    """Change a user's password, revoke all sessions and open a new one for this device.

    Args:
        user_id: The user.
        old: The present password, as the user typed it.
        new: A `strong_password`.
        device: The device that stays logged in.

    Returns:
        The id of the new session.

    Raises:
        BadInput: The old password is wrong, or the new one is the user's name or address.
    """
    user = _require_password(user_id, old, "old_password")
    if is_own_name(new, user.username, user.email):
        raise BadInput({"new_password": [OWN_NAME]})
    new_hash = passwords.hash_password(new)
    with writing() as connection:
        if not sessions.lock_credentials(connection, user_id, user.password_hash):
            raise WrongPassword("old_password")  # another request changed it first
        replace_password(connection, user_id, new_hash)
        session_id = sessions.open_session(connection, user_id, device)
    notices.tell_of_new_password(user.username, user.email)
    return session_id


def replace_password(connection: Connection, user_id: int, password_hash: str) -> None:
    """Store a new password in the caller's transaction; revoke sessions and reset links."""
    connection.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))
    revoke_access(connection, user_id)


def revoke_access(connection: Connection, user_id: int) -> None:
    """Revoke a user's sessions and reset links.

    The caller's transaction must have written the user's row before; `sessions.revoke_all` says
    why.
    """
    sessions.revoke_all(connection, user_id)
    connection.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))


def change_email(user_id: int, email: str, password: str) -> None:
    """Change a user's e-mail address.

    Args:
        user_id: The user.
        email: A `normal_email`.
        password: The user's password, as they typed it.

    Raises:
        BadInput: The password is wrong, or another user has the address.
    """
    user = _require_password(user_id, password, "password")
    try:
        with writing() as connection:
            if not sessions.lock_credentials(connection, user_id, user.password_hash):
                raise WrongPassword("password")
            connection.execute(
                update(User).where(User.id == user_id).values(email=email, email_key=folded(email))
            )
            # Reset links that were sent to the old address must stop working.
            connection.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))
    except IntegrityError:
        raise BadInput({"email": [EMAIL_TAKEN]}) from None
    if folded(user.email) != folded(email):
        notices.tell_of_new_address(user.username, user.email)


def confirm_password(user_id: int, password: str) -> str:
    """Return the hash of a user's password, for `erasure.lock_user`.

    Raises:
        BadInput: The password is wrong.
    """
    return str(_require_password(user_id, password, "password").password_hash)


def _require_password(user_id: int, password: str, field: str) -> Row[str, str, str]:
    query = select(User.username, User.email, User.password_hash).where(User.id == user_id)
    with reading() as connection:
        user = connection.execute(query).one()
    if not passwords.check_password(password, user.password_hash).ok:
        raise WrongPassword(field)
    return user
