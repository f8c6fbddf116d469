"""Use cases of accounts: register, log in, change what belongs to oneself, find somebody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.accounts import invitations, passwords, sessions
from app.accounts.models import Invitation, PasswordReset, User
from app.accounts.sessions import Device
from app.accounts.tokens import NoActiveAccount, TokenNotValid
from app.accounts.usernames import erased_username, folded
from app.clock import utcnow
from app.database.prepared import Prepared
from app.database.transactions import insert_once, reading, writing
from app.http.errors import ApiError, BadInput, FieldErrors
from app.http.pagination import KeysetQuery

# Everybody whom others may see: not those who have erased their account.
USERS = select(User.id, User.username, User.email).where(User.deleted_at.is_(None))
EVERYBODY = KeysetQuery(USERS, User.id)

_BY_NAME = USERS.where(User.username_key == bindparam("key"))
_CREDENTIALS = select(User.id, User.password_hash, User.is_active).where(
    User.username_key == bindparam("key")
)

_NAME_TAKEN = _("A user with this name already exists.")
_EMAIL_TAKEN = _("A user with this e-mail address already exists.")
_BAD_INVITATION: FieldErrors = {"invitation": [_("This invitation is unknown, used or expired.")]}
_KEYS_AT_ONCE = 500  # of one question
OWN_NAME = _("The password must not be your name or your e-mail address.")


class UserNotFound(ApiError):
    """Nobody has that login."""

    status = 404
    code = "user_not_found"
    detail = _("There is no user with this name.")


class WrongPassword(BadInput):
    """What a user says is their password is not."""

    def __init__(self, field: str) -> None:
        super().__init__({field: [_("This is not your password.")]})


class RegistrationClosed(ApiError):
    """Nobody may register here; an operator makes the accounts."""

    status = 403
    code = "registration_closed"
    detail = _("Registration is closed. Ask whoever runs this server for an account.")


def register(
    username: str, email: str, password: str, invitation: str | None = None
) -> Mapping[str, Any]:
    """Create an account for whoever asks, if they may have one.

    Args:
        username: A `normal_username`.
        email: A `normal_email`.
        password: A `strong_password`.
        invitation: The code of one. It is used up where one is needed, and only if an account
            came of it.

    Returns:
        The new user as the API shows it: id, username, email.

    Raises:
        RegistrationClosed: Nobody may.
        BadInput: The code is not good, also for who loses a race for it; or see `create_user`.
    """
    if errors := find_uninvited(invitation):
        raise BadInput(errors)
    return create_user(username, email, password, invitation if _needs_invitation() else None)


def find_uninvited(invitation: str | None) -> FieldErrors:
    """Return what stands against a registration, whoever it is for.

    It comes before `find_taken`: who may not register is not told who has an account either.

    Raises:
        RegistrationClosed: Nobody may register.
    """
    if current_app.config["REGISTRATION"] == "closed":
        raise RegistrationClosed
    if not _needs_invitation():
        return {}
    if not invitation or not invitation.strip():
        return {"invitation": [_("This field is required.")]}
    return {} if invitations.is_valid(invitation) else _BAD_INVITATION


def _needs_invitation() -> bool:
    return bool(current_app.config["REGISTRATION"] == "invite")


def create_user(
    username: str, email: str, password: str, invitation: str | None = None
) -> Mapping[str, Any]:
    """Create an account.

    Args:
        username: A `normal_username`.
        email: A `normal_email`.
        password: A `strong_password`.
        invitation: The code that is used up by it, if any.

    Returns:
        The new user as the API shows it: id, username, email.

    Raises:
        BadInput: The name or the address is taken, also for who loses a race for it; or
            one of them is the password; or the invitation is not good any more.
    """
    keys = {"username_key": folded(username), "email_key": folded(email)}
    errors = dict(find_taken(username, email))
    if is_own_name(password, username, email):
        errors["password"] = [OWN_NAME]
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
        if user_id and invitation and not invitations.redeem(connection, invitation, user_id):
            raise BadInput(_BAD_INVITATION)  # and the user is taken back
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
        errors["username"] = [_NAME_TAKEN]
    if any(row.email_key == email_key for row in rows):
        errors["email"] = [_EMAIL_TAKEN]
    return errors


def is_own_name(password: str, username: str, email: str) -> bool:
    return folded(password) in (folded(username), folded(email))


def log_in(username: str, password: str, device: Device) -> tuple[int, int]:
    """Open a session for the user whose name and password these are.

    An unknown name, a wrong password and a deactivated user take the same time: a hash
    is computed in each case.

    Returns:
        The ids of the user and of the session.

    Raises:
        NoActiveAccount: One of the three.
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
        return user.id, _begin_session(connection, user.id, device)


def _begin_session(connection: Connection, user_id: int, device: Device) -> int:
    lifetime = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    return sessions.begin(connection, user_id, device, lifetime)


def change_password(user_id: int, old: str, new: str, device: Device) -> int:
    """Give a user a new password, log them out everywhere, and in again where they are.

    Args:
        user_id: Whose.
        old: What they say the password is.
        new: A `strong_password`.
        device: Where they are.

    Returns:
        The id of the new session; all others are revoked.

    Raises:
        BadInput: The old one is wrong, or the new one is their name or address.
    """
    user = _check_own_password(user_id, old, "old_password")
    if is_own_name(new, user.username, user.email):
        raise BadInput({"new_password": [OWN_NAME]})
    new_hash = passwords.hash_password(new)
    with writing() as connection:
        if not sessions.lock_credentials(connection, user_id, user.password_hash):
            raise WrongPassword("old_password")  # another one was quicker
        replace_password(connection, user_id, new_hash)
        return _begin_session(connection, user_id, device)


def replace_password(connection: Connection, user_id: int, password_hash: str) -> None:
    """Give a user a new password in the caller's transaction; what the old one opened is shut."""
    connection.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))
    revoke_access(connection, user_id)


def revoke_access(connection: Connection, user_id: int) -> None:
    """End what would let a user in, in the transaction that has written the user's row.

    In this order; see `revoke_all` for why.
    """
    sessions.revoke_all(connection, user_id)
    connection.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))


def _check_own_password(user_id: int, password: str, field: str) -> Row[str, str, str]:
    # Who holds somebody's token must not get hold of the account as well.
    query = select(User.username, User.email, User.password_hash).where(User.id == user_id)
    with reading() as connection:
        user = connection.execute(query).one()
    if not passwords.check_password(password, user.password_hash).ok:
        raise WrongPassword(field)
    return user


def change_email(user_id: int, email: str, password: str) -> None:
    """Give a user another e-mail address.

    Args:
        user_id: Whose.
        email: A `normal_email`.
        password: What they say their password is.

    Raises:
        BadInput: The password is wrong, or somebody else has the address.
    """
    user = _check_own_password(user_id, password, "password")
    try:
        with writing() as connection:
            if not sessions.lock_credentials(connection, user_id, user.password_hash):
                raise WrongPassword("password")
            connection.execute(
                update(User).where(User.id == user_id).values(email=email, email_key=folded(email))
            )
            # What lies in the mailbox that was left opens nothing any more.
            connection.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))
    except IntegrityError:
        raise BadInput({"email": [_EMAIL_TAKEN]}) from None


def lock_users_shared(connection: Connection, caller_id: int, *other_ids: int) -> None:
    """See to it that users stay where they are until the caller's transaction ends.

    Whoever writes a row that says something of a user calls this first: an erasure waits for
    the transaction, and erases the row with all else.

    Args:
        connection: Of the transaction.
        caller_id: The user who asks for it.
        other_ids: Others whom it concerns.

    Raises:
        TokenNotValid: The caller's account was erased a moment ago.
        UserNotFound: One of the others' was.
    """
    for user_id in sorted({caller_id, *other_ids}):  # all take them in this order
        if _HOLD.first(connection, {"user_id": user_id}) is None:
            raise TokenNotValid if user_id == caller_id else UserNotFound


_HOLD = Prepared(
    select(User.id)
    .where(User.id == bindparam("user_id"), User.deleted_at.is_(None))
    .with_for_update(read=True, key_share=True)
)


def confirm_password(user_id: int, password: str) -> str:
    """Return the hash of a user's password, for `lock_user`.

    Raises:
        BadInput: What they say is not their password.
    """
    return str(_check_own_password(user_id, password, "password").password_hash)


def lock_user(connection: Connection, user_id: int, password_hash: str | None) -> None:
    """Keep everybody else from a user's account until the caller's transaction ends.

    What others write of the user is committed when this returns, or will be refused by
    `lock_users_shared`.

    Args:
        connection: Of the transaction.
        user_id: Whose account.
        password_hash: What `confirm_password` has returned; None if an operator asks.

    Raises:
        TokenNotValid: It is erased.
        BadInput: The password was changed meanwhile.
    """
    query = select(User.password_hash).where(User.id == user_id, User.deleted_at.is_(None))
    found = connection.execute(query.with_for_update()).one_or_none()
    if found is None:
        raise TokenNotValid
    if password_hash not in (found.password_hash, None):
        raise WrongPassword("password")


def erase_account(connection: Connection, user_id: int) -> str:
    """Take from an account all that is personal; the row stays, and nobody can log in to it.

    Args:
        connection: Of a transaction that has the account locked.
        user_id: Whose.

    Returns:
        The username that is left.
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
            deleted_at=utcnow(),
        )
    )
    sessions.revoke_all(connection, user_id)
    sessions.forget_devices(connection, user_id)
    connection.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))
    connection.execute(delete(Invitation).where(Invitation.used_by == user_id))
    return username


def get_user_by_name(username: str) -> Row[int, str, str]:
    """Return id, username and email of the user who has this login, in whatever case.

    Raises:
        UserNotFound: Nobody has.
    """
    with reading() as connection:
        user = connection.execute(_BY_NAME, {"key": folded(username)}).one_or_none()
    if user is None:
        raise UserNotFound
    return user


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """Somebody who had an account elsewhere.

    Attributes:
        username: A `normal_username`.
        email: A `normal_email`.
        password_hash: What `check_password` understands.
        created_at: When that account was made.
    """

    username: str
    email: str
    password_hash: str
    is_active: bool
    is_admin: bool
    created_at: datetime


class ImportRefused(Exception):
    """Some names or addresses are taken, so nobody was let in.

    Attributes:
        errors: What stands against whom, by position.
    """

    def __init__(self, errors: Mapping[int, FieldErrors]) -> None:
        super().__init__(f"{len(errors)} are taken")
        self.errors = errors


def import_users(imported_users: Sequence[ImportedUser], *, is_rehearsal: bool = False) -> None:
    """Let many people in with the passwords that they have: all of them, or nobody.

    Args:
        newcomers: No two of them have the same name or address, whatever the case.
        is_rehearsal: Nobody is let in, only looked at.

    Raises:
        NewcomersRefused: Nobody was let in.
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
        # Somebody has registered between the look and the insert.
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
        ("username", User.username_key, _NAME_TAKEN),
        ("email", User.email_key, _EMAIL_TAKEN),
    ):
        keys = [row[key.key] for row in rows]
        taken: set[str] = set()
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            taken |= set(connection.scalars(select(key).where(key.in_(some))))
        for position, each in enumerate(keys):
            if each in taken:
                errors.setdefault(position, {})[name] = [sentence]
    return errors
