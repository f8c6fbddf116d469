"""Owns the ways to a new password for those who have lost the old one.

A token for it comes by mail, to the address that the account has, or from an operator. It is
good once, and whatever gives an account a new password ends all of its tokens.
"""

from datetime import timedelta
from functools import partial

from flask_babel import force_locale, gettext
from flask_babel import lazy_gettext as _
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select

from app.accounts import one_time_tokens, passwords
from app.accounts.credentials import replace_password
from app.accounts.models import PasswordReset, User
from app.accounts.one_time_tokens import OneTimeToken
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.http.errors import ApiError, BadInput, FieldErrors
from app.mail import Letter
from app.services import services

LIFETIME = timedelta(hours=1)
OPEN_MAX = 5  # tokens of one user at a time that are sent by mail: nobody's mailbox is filled


class NoMail(ApiError):
    """This server sends no letters, so nobody should wait for one."""

    status = 404
    code = "no_mail"
    detail = _("This server sends no mail. Ask whoever runs it for a new password.")


def ask_by_mail(email: str, language: str) -> None:
    """Send a token to the owner of an address, if it has one.

    Nothing is looked up here, only later and elsewhere: neither the answer nor its time
    tells whether there is such an account.

    Args:
        email: A `normal_email`.
        language: Of the letter.

    Raises:
        NoMail: No mail server is set.
        Overloaded: Too many letters are waiting.
    """
    mailer = services().mailer
    if mailer is None:
        raise NoMail
    mailer.submit(partial(_write_letter, email, language))


def _write_letter(email: str, language: str) -> Letter | None:
    whose = (User.email_key == folded(email), *_CAN_LOG_IN)
    with reading() as connection:  # strangers' addresses do not take the turn to write
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
        # To the address that is stored: what was typed may only look like it, and be another's.
        return Letter(user.email, gettext("A new password"), _text(user.username, token_row.secret))


def _text(username: str, token: str) -> str:
    page = link(token)
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


def link(token: str) -> str | None:
    """Return the address of the page that takes a token, if the operator has named one.

    It is never made from the request, whose `Host` anybody may choose. Behind the `#` the
    token stays in the browser: it reaches no log of a server, and no `Referer`.
    """
    page = services().config.PASSWORD_RESET_URL
    return page and f"{page}#token={token}"


def issue(user_id: int, lifetime: timedelta = LIFETIME) -> OneTimeToken | None:
    """Return a token for an operator to hand on, or None if the user cannot log in at all."""
    with writing() as connection:
        return _issue(connection, user_id, lifetime) if _lock(connection, user_id) else None


def reset_password(token: str, new_password: str) -> str:
    """Give the owner of a token a new password, and log them out everywhere.

    Args:
        token: As it was sent to them.
        new_password: A `strong_password`.

    Returns:
        The owner's name.

    Raises:
        BadInput: The token is unknown, used or expired, also for who loses a race for it; or
            the password is its owner's name or address. Then the token stays good.
    """
    owner = _find_owner(token)
    if owner is None:
        raise BadInput(_BAD_TOKEN)
    if passwords.is_own_name(new_password, owner.username, owner.email):
        raise BadInput({"new_password": [passwords.OWN_NAME]})
    new_hash = passwords.hash_password(new_password)  # takes long, so it holds no connection
    with writing() as connection:
        # First the user's row, then theirs in other tables, as everywhere: nobody waits crosswise.
        if not (_lock(connection, owner.id) and _use_up(connection, token)):
            raise BadInput(_BAD_TOKEN)
        replace_password(connection, owner.id, new_hash)
    return str(owner.username)


def find_token_errors(token: str) -> FieldErrors:
    """Return what stands against a token."""
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
    # Until the transaction ends the user stays who can log in, and nobody else changes them.
    query = select(User.id).where(User.id == user_id, *_CAN_LOG_IN)
    return connection.execute(query.with_for_update(key_share=True)).first() is not None


def _count_open(connection: Connection, user_id: int) -> int:
    query = select(func.count()).where(
        PasswordReset.user_id == user_id, PasswordReset.expires_at > utcnow()
    )
    return connection.execute(query).scalar_one()


def _issue(connection: Connection, user_id: int, lifetime: timedelta) -> OneTimeToken:
    token_row = OneTimeToken(one_time_tokens.new_secret(), utcnow() + lifetime)
    one_time_tokens.delete_expired(connection, PasswordReset)
    connection.execute(
        insert(PasswordReset).values(
            user_id=user_id,
            token_hash=one_time_tokens.hash_of(token_row.secret),
            expires_at=token_row.expires_at,
        )
    )
    return token_row


def _use_up(connection: Connection, token: str) -> bool:
    return bool(connection.execute(delete(PasswordReset).where(*_good(token))).rowcount)


def _good(token: str) -> tuple[ColumnElement[bool], ...]:
    return PasswordReset.token_hash == one_time_tokens.hash_of(
        token
    ), PasswordReset.expires_at > utcnow()
