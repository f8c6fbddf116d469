"""Finds users, and locks them while rows that refer to them are written."""

from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, bindparam, or_, select

from app.accounts.models import User
from app.accounts.tokens import TokenNotValid
from app.accounts.usernames import folded
from app.database.keyset import KeysetQuery
from app.database.prepared import Prepared
from app.database.transactions import reading
from app.http.errors import ApiError, FieldErrors

# All users but those whose account is erased.
USERS = select(User.id, User.username, User.email).where(User.deleted_at.is_(None))
EVERYBODY = KeysetQuery(USERS, User.id)

NAME_TAKEN = _("A user with this name already exists.")
EMAIL_TAKEN = _("A user with this e-mail address already exists.")

_BY_NAME = USERS.where(User.username_key == bindparam("key"))


class UserNotFound(ApiError):
    """No user has this name."""

    status = 404
    code = "user_not_found"
    detail = _("There is no user with this name.")


def get_user_by_name(username: str) -> Row[int, str, str]:
    """Return id, username and email of the user with this name; case is ignored.

    Raises:
        UserNotFound: No user has it.
    """
    with reading() as connection:
        user = connection.execute(_BY_NAME, {"key": folded(username)}).one_or_none()
    if user is None:
        raise UserNotFound
    return user


def find_taken(username: str, email: str) -> FieldErrors:
    """Return the fields in which a new account would collide with an existing one."""
    username_key, email_key = folded(username), folded(email)
    query = select(User.username_key, User.email_key).where(
        or_(
            User.username_key == username_key,
            User.email_key == email_key,
            # A name must not be another user's address, because that address logs them in.
            (User.email_key == username_key) & (username_key != email_key),
        )
    )
    with reading() as connection:
        rows = connection.execute(query).all()
    errors: dict[str, list[str | LazyString]] = {}
    is_other_address = username_key != email_key
    if any(
        row.username_key == username_key or (is_other_address and row.email_key == username_key)
        for row in rows
    ):
        errors["username"] = [NAME_TAKEN]
    if any(row.email_key == email_key for row in rows):
        errors["email"] = [EMAIL_TAKEN]
    return errors


def is_address_of_other(connection: Connection, username: str, user_id: int) -> bool:
    """Tell whether a name is the e-mail address of another user, whom that address logs in."""
    query = select(User.id).where(User.email_key == folded(username), User.id != user_id)
    return connection.execute(query).first() is not None


def lock_users_shared(connection: Connection, caller_id: int, *other_ids: int) -> None:
    """Keep users from being erased until the caller's transaction ends.

    Call it before writing a row that refers to users: an erasure then waits for the transaction
    and erases that row too.

    Args:
        connection: A transaction.
        caller_id: The user who asks.
        other_ids: Other users whom the row refers to.

    Raises:
        TokenNotValid: The caller's account is erased.
        UserNotFound: The account of another of them is.
    """
    for user_id in sorted({caller_id, *other_ids}):  # every transaction locks in this order
        if _LOCK_SHARED.first(connection, {"user_id": user_id}) is None:
            raise TokenNotValid if user_id == caller_id else UserNotFound


_LOCK_SHARED = Prepared(
    select(User.id)
    .where(User.id == bindparam("user_id"), User.deleted_at.is_(None))
    .with_for_update(read=True, key_share=True)
)
