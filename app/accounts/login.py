"""Use case: log in."""

from typing import NamedTuple

from sqlalchemy import BindParameter, Row, bindparam, case, or_, select, update

from app.accounts import passwords, sessions
from app.accounts.models import User
from app.accounts.sessions import Device
from app.accounts.tokens import NoActiveAccount
from app.accounts.usernames import folded
from app.database.transactions import reading, writing

_KEY: BindParameter[str] = bindparam("key")
_CREDENTIALS = (
    select(User.id, User.username_key, User.password_hash, User.is_active)
    .where(or_(User.username_key == _KEY, User.email_key == _KEY))
    .order_by(case((User.username_key == _KEY, 0), else_=1))
    .limit(1)
)


class Candidate(NamedTuple):
    """The account that a login names, whether it exists or not.

    Attributes:
        key: The folded name. Attempts are counted by it, so the address gives no further attempts.
        user: Its row, or None.
    """

    key: str
    user: Row[int, str, str, bool] | None


def find_candidate(login: str) -> Candidate:
    """Find the account by its name, otherwise by its e-mail address."""
    key = folded(login)
    with reading() as connection:
        user = connection.execute(_CREDENTIALS, {"key": key}).one_or_none()
    return Candidate(user.username_key if user else key, user)


def log_in(candidate: Candidate, password: str, device: Device) -> tuple[int, int]:
    """Open a session for the user with this name and password.

    An unknown name, a wrong password and a deactivated user take the same time: one hash.

    Returns:
        The ids of the user and of the session.

    Raises:
        NoActiveAccount: One of the three; the client is not told which.
    """
    user = candidate.user
    verdict = passwords.check_password(password, user.password_hash if user else None)
    if user is None or not verdict.ok or not user.is_active:
        raise NoActiveAccount
    new_hash = passwords.hash_password(password) if verdict.needs_rehash else None
    with writing() as connection:
        if not sessions.lock_credentials(connection, user.id, user.password_hash):
            raise NoActiveAccount  # name or password changed meanwhile
        if new_hash:
            connection.execute(
                update(User).where(User.id == user.id).values(password_hash=new_hash)
            )
        return user.id, sessions.open_session(connection, user.id, device)
