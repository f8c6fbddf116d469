"""Use case: log in."""

from sqlalchemy import bindparam, select, update

from app.accounts import passwords, sessions
from app.accounts.models import User
from app.accounts.sessions import Device
from app.accounts.tokens import NoActiveAccount
from app.accounts.usernames import folded
from app.database.transactions import reading, writing

_CREDENTIALS = select(User.id, User.password_hash, User.is_active).where(
    User.username_key == bindparam("key")
)


def log_in(username: str, password: str, device: Device) -> tuple[int, int]:
    """Open a session for the user with this name and password.

    An unknown name, a wrong password and a deactivated user take the same time: each of them
    computes one hash.

    Returns:
        The ids of the user and of the session.

    Raises:
        NoActiveAccount: One of the three. Which one stays unsaid.
    """
    with reading() as connection:
        user = connection.execute(_CREDENTIALS, {"key": folded(username)}).one_or_none()
    verdict = passwords.check_password(password, user.password_hash if user else None)
    if user is None or not verdict.ok or not user.is_active:
        raise NoActiveAccount
    new_hash = passwords.hash_password(password) if verdict.needs_rehash else None
    with writing() as connection:
        if not sessions.lock_credentials(connection, user.id, user.password_hash):
            raise NoActiveAccount  # they were changed while the hash was computed
        if new_hash:
            connection.execute(
                update(User).where(User.id == user.id).values(password_hash=new_hash)
            )
        return user.id, sessions.open_session(connection, user.id, device)
