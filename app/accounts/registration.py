"""Use case: create an account."""

from collections.abc import Callable, Mapping
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection

from app.accounts import invitations, passwords
from app.accounts.models import User
from app.accounts.passwords import OWN_NAME, is_own_name
from app.accounts.services import NAME_TAKEN, find_taken, is_address_of_other
from app.accounts.usernames import folded
from app.database.transactions import insert_once, writing
from app.http.errors import ApiError, BadInput, FieldErrors
from app.services import services

_BAD_INVITATION: FieldErrors = {"invitation": [_("This invitation is unknown, used or expired.")]}


class RegistrationClosed(ApiError):
    """`REGISTRATION` is `closed`: an operator or administrator creates the accounts."""

    status = 403
    code = "registration_closed"
    detail = _("Registration is closed. Ask the operator of this server for an account.")


def register(
    username: str, email: str, password: str, invitation: str | None = None
) -> Mapping[str, Any]:
    """Create an account for a visitor, if `REGISTRATION` permits it.

    Args:
        username: A `normal_username`.
        email: A `normal_email`.
        password: A `strong_password`.
        invitation: The code of an invitation. It is marked as used only if `REGISTRATION` is
            `invite` and the account is created.

    Returns:
        The new user as the API shows it: id, username, email.

    Raises:
        RegistrationClosed: Nobody may register.
        BadInput: The invitation is not valid, or another request has just used it; also raised
            by `create_user`.
    """
    if errors := find_uninvited(invitation):
        raise BadInput(errors)
    if invitation is None or not _needs_invitation():
        return create_user(username, email, password)

    def redeem(connection: Connection, user_id: int) -> None:
        if not invitations.redeem(connection, invitation, user_id):
            raise BadInput(_BAD_INVITATION)

    return create_user(username, email, password, redeem)


def find_uninvited(invitation: str | None) -> FieldErrors:
    """Return the reasons to refuse a registration before looking at its fields.

    Call it before `find_taken`: a visitor who may not register must not learn who has an account.

    Raises:
        RegistrationClosed: Nobody may register.
    """
    if services().config.REGISTRATION == "closed":
        raise RegistrationClosed
    if not _needs_invitation():
        return {}
    if not invitation or not invitation.strip():
        return {"invitation": [_("This field is required.")]}
    return {} if invitations.is_valid(invitation) else _BAD_INVITATION


def _needs_invitation() -> bool:
    return services().config.REGISTRATION == "invite"


def create_user(
    username: str,
    email: str,
    password: str,
    redeem: Callable[[Connection, int], None] | None = None,
    *,
    is_admin: bool = False,
) -> Mapping[str, Any]:
    """Create an account.

    Args:
        username: A `normal_username`.
        email: A `normal_email`.
        password: A `strong_password`.
        redeem: Called with the transaction and the new user's id, to mark an invitation or the
            setup code as used. An exception rolls everything back.
        is_admin: Whether the user is an administrator.

    Returns:
        The new user as the API shows it: id, username, email.

    Raises:
        BadInput: The name or the address is taken, perhaps by a simultaneous request; or the
            password equals one of them; also raised by `redeem`.
    """
    keys = {"username_key": folded(username), "email_key": folded(email)}
    errors = dict(find_taken(username, email))
    if is_own_name(password, username, email):
        errors["password"] = [OWN_NAME]
    if errors:
        raise BadInput(errors)
    password_hash = passwords.hash_password(password)  # slow, so no connection is held meanwhile
    with writing() as connection:
        user_id = insert_once(
            connection,
            User,
            username=username,
            email=email,
            password_hash=password_hash,
            is_admin=is_admin,
            **keys,
        )
        # Somebody may have got this address while the hash was computed.
        if user_id and "@" in username and is_address_of_other(connection, username, user_id):
            raise BadInput({"username": [NAME_TAKEN]})
        if user_id and redeem:
            redeem(connection, user_id)
    if user_id is None:
        raise BadInput(find_taken(username, email))
    return {"id": user_id, "username": username, "email": email}
