"""`/accounts/api/`: users, their passwords and their settings."""

from flask import Blueprint, Response
from flask_babel import gettext

from app.accounts import credentials, registration, resets, services, settings
from app.accounts.credentials import WrongPassword
from app.accounts.registration import RegistrationClosed
from app.accounts.resets import NoMail
from app.accounts.schemas import (
    DetailOut,
    EmailChangeIn,
    OwnUserOut,
    PasswordChangeIn,
    RegistrationIn,
    ResetConfirmIn,
    ResetIn,
    SettingsIn,
    SettingsOut,
    TokensOut,
    UserOut,
)
from app.accounts.session_routes import ACCESS_COOKIES, device, logged_in
from app.accounts.tokens import current_user, login_required
from app.accounts.usernames import folded
from app.database.keyset import PageRequest
from app.http.annotations import documents_error, documents_header, returns
from app.http.conditional import conditional
from app.http.errors import Overloaded
from app.http.json import json_response
from app.http.languages import preferred
from app.http.pagination import USERS_MAX, list_response, paged
from app.http.validation import takes
from app.limits.password_guesses import limit_password_guesses, remember_network
from app.limits.rules import consume_for_account, limited

bp = Blueprint("accounts", __name__, url_prefix="/accounts/api")


@bp.post("/users/")
@limited("registration")
@takes(RegistrationIn)
@returns(UserOut, 201)
@documents_error(RegistrationClosed, Overloaded)
def create_user(body: RegistrationIn) -> Response:
    """Create an account.

    Names and addresses are unique, whatever the case. Where registration is closed it takes an
    `invitation`.
    """
    user = registration.register(body.username, body.email, body.password, body.invitation)
    return json_response(user, 201)


@bp.get("/users/me/")
@login_required
@returns(OwnUserOut)
@conditional
def show_self() -> Response:
    """Show the caller's own account.

    With what only its owner sees of it: the address, and whether it is an administrator's.
    """
    return _account(current_user.email)


@bp.patch("/users/me/")
@login_required
@limited("passwords")
@takes(EmailChangeIn)
@returns(OwnUserOut)
@documents_error(WrongPassword("password"), Overloaded)
def update_self(body: EmailChangeIn) -> Response:
    """Change the caller's e-mail address.

    It takes the password, and the old address is told by a letter.
    """
    with limit_password_guesses(folded(current_user.username), wrong=WrongPassword):
        credentials.change_email(current_user.id, body.email, body.password)
    return _account(body.email)


def _account(email: str) -> Response:
    return json_response(
        {
            "id": current_user.id,
            "username": current_user.username,
            "email": email,
            "is_admin": current_user.is_admin,
        }
    )


@bp.post("/password/")
@login_required
@limited("passwords")
@takes(PasswordChangeIn)
@returns(TokensOut)
@documents_header(**ACCESS_COOKIES)
@documents_error(WrongPassword("old_password"), Overloaded)
def change_password(body: PasswordChangeIn) -> Response:
    """Change the caller's password. All sessions end; the response opens a new one.

    All sockets of the old sessions close within two seconds.
    """
    with limit_password_guesses(folded(current_user.username), wrong=WrongPassword):
        session_id = credentials.change_password(
            current_user.id, body.old_password, body.new_password, device()
        )
    return logged_in(current_user.id, session_id, in_cookie=body.cookie)


@bp.post("/password/reset/")
@limited("reset")
@takes(ResetIn)
@returns(DetailOut, 202)
@documents_error(NoMail, Overloaded)
def ask_for_reset(body: ResetIn) -> Response:
    """Send an e-mail with a token for a new password, if an account has this address.

    The response is the same whether there is such an account or not, so it tells nobody who is
    here.
    """
    email = body.email
    consume_for_account("reset_account", folded(email))  # known or unknown
    resets.ask_by_mail(email, preferred())
    sentence = gettext("If an account has this address, an e-mail is on its way to it.")
    return json_response({"detail": sentence}, 202)


@bp.post("/password/reset/confirm/")
@limited("reset")
@takes(ResetConfirmIn)
@returns(DetailOut)
@documents_error(Overloaded)
def confirm_reset(body: ResetConfirmIn) -> Response:
    """Set a new password with a token. All sessions end.

    The token works once and for an hour. After that its owner logs in with the new password.
    """
    remember_network(folded(resets.reset_password(body.token, body.new_password)))
    return json_response({"detail": gettext("The password is changed. Please log in with it.")})


@bp.get("/settings/")
@login_required
@returns(SettingsOut)
@conditional
def show_settings() -> Response:
    """Show the caller's settings.

    They hold for all devices of the caller.
    """
    return json_response(settings.get_settings(current_user.id))


@bp.patch("/settings/")
@login_required
@limited("changes")
@takes(SettingsIn)
@returns(SettingsOut)
def update_settings(body: SettingsIn) -> Response:
    """Change some of the caller's settings.

    Who hides presence or read marks does not see those of others.
    """
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    settings.change_settings(current_user.id, changes)
    return json_response(settings.get_settings(current_user.id))


@bp.get("/users/")
@login_required
@returns(list[UserOut])
@conditional
@paged(default=USERS_MAX, maximum=USERS_MAX)
def list_users(window: PageRequest) -> Response:
    """List the users, ascending by id.

    With their addresses. For choosing people from a list `people/` is lighter and shows
    pictures.
    """
    return list_response(services.EVERYBODY, window)
