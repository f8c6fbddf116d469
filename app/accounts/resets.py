"""Use case: choose a new password without the old one.

It takes a token, which comes by e-mail to the address of the account, or from an operator. A token
works once. Every change of the password deletes all tokens of the account.
"""

from datetime import timedelta
from functools import partial

from flask_babel import force_locale, gettext
from flask_babel import lazy_gettext as _
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select

from app.accounts import notices, one_time_tokens, passwords
from app.accounts.credentials import replace_password
from app.accounts.links import public_reset_link
from app.accounts.models import PasswordReset, User
from app.accounts.one_time_tokens import OneTimeToken
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.http.errors import ApiError, BadInput, FieldErrors
from app.mail import Email
from app.services import services

LIFETIME = timedelta(hours=1)
OPEN_MAX = 5  # valid tokens of one user that are sent by e-mail, so that no mailbox is flooded


class NoMail(ApiError):
    """No mail server is set (`SMTP_URL`)."""

    status = 404
    code = "no_mail"
    detail = _("This server sends no mail. Ask its operator for a new password.")


def ask_by_mail(email: str, language: str) -> None:
    """Send a token to an e-mail address if an account has it.

    The mail thread looks the account up later, so neither the response nor its time tells whether
    there is such an account.

    Args:
        email: A `normal_email`.
        language: The language of the e-mail.

    Raises:
        NoMail: No mail server is set.
        Overloaded: Too many e-mails are waiting.
    """
    mailer = services().mailer
    if mailer is None:
        raise NoMail
    mailer.submit(partial(_write_email, email, language))


def _write_email(email: str, language: str) -> Email | None:
    whose = (User.email_key == folded(email), *_CAN_LOG_IN)
    with reading() as connection:  # an unknown address must not take the write lock
        if connection.execute(select(User.id).where(*whose)).first() is None:
            return None
    with writing() as connection:
        user = connection.execute(
            select(User.id, User.username, User.email).where(*whose).with_for_update(key_share=True)
        ).one_or_none()
        if user is None or _count_open(connection, user.id) >= OPEN_MAX:
            return None
        token_row = _issue(connection, user.id, LIFETIME)
    with force_locale(language):
        # Send it to the stored address: the typed one may only look like it and be somebody else's.
        return Email(user.email, gettext("A new password"), _text(user.username, token_row.secret))


def _text(username: str, token: str) -> str:
    page = public_reset_link(token)
    return "\n\n".join(
        (
            gettext("Hello, %(name)s!", name=username),
            gettext("Somebody, most likely you, asks for a new password for your account."),
            gettext("Choose it here:") if page else gettext("Your code for it:"),
            page or token,
            gettext("This works once, within one hour."),
            gettext("If it was not you, do nothing: your password stays as it is."),
        )
    )


def issue(user_id: int, lifetime: timedelta = LIFETIME) -> OneTimeToken | None:
    """Return a token for an operator to pass on, or None if the user is deactivated or erased."""
    with writing() as connection:
        return issue_within(connection, user_id, lifetime)


def issue_within(
    connection: Connection, user_id: int, lifetime: timedelta = LIFETIME
) -> OneTimeToken | None:
    """Do the same in the caller's transaction."""
    return _issue(connection, user_id, lifetime) if _lock(connection, user_id) else None


def reset_password(token: str, new_password: str) -> str:
    """Set a new password for the owner of a token and log them out everywhere.

    Args:
        token: The token as the client sent it.
        new_password: A `strong_password`.

    Returns:
        The owner's name.

    Raises:
        BadInput: The token is unknown, used or expired; or the password equals its owner's name
            or address, and then the token stays valid.
    """
    owner = _find_owner(token)
    if owner is None:
        raise BadInput(_BAD_TOKEN)
    if passwords.is_own_name(new_password, owner.username, owner.email):
        raise BadInput({"new_password": [passwords.OWN_NAME]})
    new_hash = passwords.hash_password(new_password)  # slow, so no connection is held meanwhile
    with writing() as connection:
        # Lock the user's row before rows of other tables, as everywhere, to avoid deadlocks.
        if not (_lock(connection, owner.id) and _use_up(connection, token)):
            raise BadInput(_BAD_TOKEN)
        replace_password(connection, owner.id, new_hash)
    notices.tell_of_new_password(owner.username, owner.email)
    return str(owner.username)


def find_token_errors(token: str) -> FieldErrors:
    """Return what is wrong with a token."""
    return {} if _find_owner(token) else _BAD_TOKEN


_BAD_TOKEN: FieldErrors = {"token": [_("This token is unknown, used or expired.")]}
_CAN_LOG_IN = (User.is_active, User.deleted_at.is_(None))


def _find_owner(token: str) -> Row[int, str, str] | None:
    query = (
        select(User.id, User.username, User.email)
        .join(PasswordReset, PasswordReset.user_id == User.id)
        .where(*_good(token), *_CAN_LOG_IN)
    )
    with reading() as connection:
        return connection.execute(query).one_or_none()


def _lock(connection: Connection, user_id: int) -> bool:
    # The lock keeps others from changing the row until the transaction ends.
    query = select(User.id).where(User.id == user_id, *_CAN_LOG_IN)
    return connection.execute(query.with_for_update(key_share=True)).first() is not None


def _count_open(connection: Connection, user_id: int) -> int:
    query = select(func.count()).where(
        PasswordReset.user_id == user_id, PasswordReset.expires_at > utcnow()
    )
    return connection.execute(query).scalar_one()


def _issue(connection: Connection, user_id: int, lifetime: timedelta) -> OneTimeToken:
    token = one_time_tokens.new(lifetime)
    one_time_tokens.delete_expired(connection, PasswordReset)
    connection.execute(
        insert(PasswordReset).values(
            user_id=user_id,
            token_hash=one_time_tokens.hash_of(token.secret),
            expires_at=token.expires_at,
        )
    )
    return token


def _use_up(connection: Connection, token: str) -> bool:
    return bool(connection.execute(delete(PasswordReset).where(*_good(token))).rowcount)


def _good(token: str) -> tuple[ColumnElement[bool], ...]:
    token_hash = one_time_tokens.hash_of(token)
    return PasswordReset.token_hash == token_hash, PasswordReset.expires_at > utcnow()
