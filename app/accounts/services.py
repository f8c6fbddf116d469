"""Use cases of accounts: register, log in, find somebody."""

from collections.abc import Mapping
from typing import Any

from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from sqlalchemy import Row, or_, select, update

from app.accounts import passwords
from app.accounts.models import User
from app.accounts.names import folded
from app.accounts.tokens import NoActiveAccount
from app.database import insert_once, reading, writing
from app.errors import ApiError, BadInput, FieldErrors


class UserNotFound(ApiError):
    """Nobody has that login."""

    status = 404
    code = "user_not_found"
    detail = _("There is no user with this name.")


def register(username: str, email: str, password: str) -> Mapping[str, Any]:
    """Create an account.

    Args:
        username: A `normal_username`.
        email: A `normal_email`.
        password: A `strong_password`.

    Returns:
        The new user as the API shows it: id, username, email.

    Raises:
        BadInput: The name or the address is taken, also for who loses a race for it; or
            one of them is the password.
    """
    keys = {"username_key": folded(username), "email_key": folded(email)}
    errors = dict(find_taken(username, email))
    if folded(password) in keys.values():
        errors["password"] = [_("The password must not be your name or your e-mail address.")]
    if errors:
        raise BadInput(errors)
    password_hash = passwords.hash_password(password)  # takes long, so it holds no connection
    with writing() as connection:
        user_id = insert_once(
            connection,
            User,
            username=username,
            email=email,
            password_hash=password_hash,
            **keys,
        )
    if user_id is None:
        raise BadInput(find_taken(username, email))
    return {"id": user_id, "username": username, "email": email}


def find_taken(username: str, email: str) -> FieldErrors:
    """Return what stands against a new account with this name and this address."""
    username_key, email_key = folded(username), folded(email)
    query = select(User.username_key, User.email_key).where(
        or_(User.username_key == username_key, User.email_key == email_key)
    )
    with reading() as connection:
        rows = connection.execute(query).all()
    errors: dict[str, list[str | LazyString]] = {}
    if any(row.username_key == username_key for row in rows):
        errors["username"] = [_("A user with this name already exists.")]
    if any(row.email_key == email_key for row in rows):
        errors["email"] = [_("A user with this e-mail address already exists.")]
    return errors


def authenticate(username: str, password: str) -> int:
    """Return the id of the user whose name and password these are.

    An unknown name, a wrong password and a deactivated user take the same time: a hash
    is computed in each case.

    Raises:
        NoActiveAccount: One of the three.
    """
    query = select(User.id, User.password_hash, User.is_active).where(
        User.username_key == folded(username)
    )
    with reading() as connection:
        user = connection.execute(query).one_or_none()
    verdict = passwords.check_password(password, user.password_hash if user else None)
    if user is None or not verdict.ok or not user.is_active:
        raise NoActiveAccount
    if verdict.needs_rehash:
        password_hash = passwords.hash_password(password)
        with writing() as connection:
            # Only if nobody has changed the password in the meantime.
            connection.execute(
                update(User)
                .where(User.id == user.id, User.password_hash == user.password_hash)
                .values(password_hash=password_hash)
            )
    return int(user.id)


def get_user_by_name(username: str) -> Row[int, str, str]:
    """Return id, username and email of the user who has this login, in whatever case.

    Raises:
        UserNotFound: Nobody has.
    """
    query = select(User.id, User.username, User.email).where(User.username_key == folded(username))
    with reading() as connection:
        user = connection.execute(query).one_or_none()
    if user is None:
        raise UserNotFound
    return user


def make_admin(username: str) -> None:
    """Let a user see all rooms.

    Raises:
        UserNotFound: Nobody has that login.
    """
    user = get_user_by_name(username)
    with writing() as connection:
        connection.execute(update(User).where(User.id == user.id).values(is_admin=True))
