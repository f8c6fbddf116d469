"""`/accounts/api/`: users, sessions and tokens."""

from flask import Blueprint, Response, request
from flask_babel import gettext
from flask_babel import lazy_gettext as _

from app import threads
from app.accounts import (
    cookies,
    credentials,
    registration,
    resets,
    services,
    sessions,
    settings,
    tokens,
)
from app.accounts.credentials import WrongPassword
from app.accounts.devices import kinds_of
from app.accounts.login import find_candidate, log_in
from app.accounts.registration import RegistrationClosed
from app.accounts.resets import NoMail
from app.accounts.schemas import (
    AccessOut,
    CredentialsIn,
    DetailOut,
    EmailChangeIn,
    NothingOut,
    OwnUserOut,
    PasswordChangeIn,
    RefreshIn,
    RegistrationIn,
    ResetConfirmIn,
    ResetIn,
    SessionOut,
    SettingsIn,
    SettingsOut,
    TokenIn,
    TokensOut,
    UserOut,
)
from app.accounts.sessions import Device, SessionNotFound
from app.accounts.tokens import NoActiveAccount, TokenNotValid, current_user, login_required
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.keyset import PageRequest
from app.database.transactions import reading
from app.http.annotations import documents_error, documents_header, documents_path, returns
from app.http.conditional import conditional
from app.http.errors import BadInput, Overloaded
from app.http.fields import whole_number
from app.http.json import json_response
from app.http.languages import preferred
from app.http.pagination import DEFAULT_ITEMS, ITEMS_MAX, USERS_MAX, link_header, paged
from app.http.validation import takes
from app.limits.password_guesses import limit_password_guesses, remember_network
from app.limits.rules import consume_for_account, limited

bp = Blueprint("accounts", __name__, url_prefix="/accounts/api")

_ACCESS_COOKIES = {"header": "Set-Cookie", "sentence": "The access token, for sockets and files."}


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
    with reading() as connection:
        page = services.EVERYBODY.read(connection, window)
    return json_response([row._asdict() for row in page.rows], headers=link_header(page, window))


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
@documents_header(**_ACCESS_COOKIES)
@documents_error(WrongPassword("old_password"), Overloaded)
def change_password(body: PasswordChangeIn) -> Response:
    """Change the caller's password. All sessions end; the response opens a new one.

    All sockets of the old sessions close within two seconds.
    """
    with limit_password_guesses(folded(current_user.username), wrong=WrongPassword):
        session_id = credentials.change_password(
            current_user.id, body.old_password, body.new_password, _device()
        )
    return _logged_in(current_user.id, session_id, in_cookie=body.cookie)


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


@bp.get("/sessions/")
@login_required
@returns(list[SessionOut])
@conditional
@paged(default=DEFAULT_ITEMS, maximum=ITEMS_MAX)
def list_sessions(window: PageRequest) -> Response:
    """List the caller's open sessions.

    Each login is one, with its address, device and last use; `current` is the one that asks.
    """
    with reading() as connection:
        page = sessions.ALIVE.read(connection, window, partition=current_user.id, now=utcnow())
    shown = [
        row._asdict()
        | {
            "device": kinds_of(row.client)._asdict(),
            "current": row.id == current_user.session_id,
        }
        for row in page.rows
    ]
    return json_response(shown, headers=link_header(page, window))


@bp.delete("/sessions/<session_id>/")
@login_required
@returns(None, 204)
@documents_path("session_id", "The `id` of a session.", example=1)
@documents_error(SessionNotFound)
def revoke_session(session_id: str) -> Response:
    """End one of the caller's sessions. Its tokens stop working, and its sockets are closed.

    Its sockets close within two seconds.
    """
    sessions.revoke(current_user.id, whole_number(session_id) or 0)
    return Response(status=204)


@bp.post("/token/")
@limited("login")
@takes(CredentialsIn)
@returns(TokensOut)
@documents_header(**_ACCESS_COOKIES)
@documents_error(NoActiveAccount, Overloaded)
def create_token(body: CredentialsIn) -> Response:
    """Log in: get a refresh token and an access token.

    An e-mail address does for a username. Wrong name, wrong password and deactivated user get
    the same answer.
    """
    candidate = find_candidate(body.username)
    threads.act_for(candidate.key)
    with limit_password_guesses(candidate.key, wrong=NoActiveAccount):
        user_id, session_id = log_in(candidate, body.password, _device())
    return _logged_in(user_id, session_id, in_cookie=body.cookie)


@bp.post("/token/refresh/")
@limited("refreshes")
@takes(RefreshIn)
@returns(AccessOut)
@documents_header(**_ACCESS_COOKIES)
@documents_error(TokenNotValid)
def refresh_token(body: RefreshIn) -> Response:
    """Get a new access token for a refresh token, which stays valid.

    Ask for it shortly before the access token expires. The refresh token stays the same.
    """
    caller = tokens.caller_of(_refresh_token(body), tokens.REFRESH)
    sessions.touch(caller.session_id, _device())
    access = tokens.issue_access(caller.id, caller.session_id)
    return _with_access_cookies(json_response({"access": access}), access)


@bp.post("/token/verify/")
@limited("refreshes")
@takes(TokenIn)
@returns(NothingOut)
@documents_error(TokenNotValid)
def verify_token(body: TokenIn) -> Response:
    """Check whether a token of either type is valid.

    The answer is `{}`, or 401.
    """
    tokens.caller_of(body.token, token_type=None)
    return json_response({})


@bp.post("/token/blacklist/")
@limited("refreshes")
@takes(RefreshIn)
@returns(NothingOut)
@documents_header("Set-Cookie", "Deletes the cookies of the session.")
@documents_error(TokenNotValid)
def blacklist_token(body: RefreshIn) -> Response:
    """Log out: end the session that a refresh token belongs to.

    Both tokens stop working at once, and the sockets of the session close within two seconds.
    """
    caller = tokens.caller_of(_refresh_token(body), tokens.REFRESH)
    try:
        sessions.revoke(caller.id, caller.session_id)
    except SessionNotFound:  # another request has just ended it
        raise TokenNotValid from None
    response = json_response({})
    if cookies.may_have_cookies(request):
        cookies.delete_cookies(response, request)
    return response


def _device() -> Device:
    return Device(request.remote_addr or "", request.user_agent.string)


def _refresh_token(body: RefreshIn) -> str:
    token = body.refresh or cookies.refresh_token_of(request)
    if not token:
        raise BadInput({"refresh": [_("This field is required.")]})
    return token


def _logged_in(user_id: int, session_id: int, *, in_cookie: bool) -> Response:
    access = tokens.issue_access(user_id, session_id)
    refresh = tokens.issue_refresh(user_id, session_id)
    keeps = in_cookie and cookies.may_keep_refresh_token(request)
    response = json_response({"refresh": "" if keeps else refresh, "access": access})
    if keeps:
        cookies.set_cookie(response, request, cookies.REFRESH, refresh)
    return _with_access_cookies(response, access)


def _with_access_cookies(response: Response, access: str) -> Response:
    # In a browser, `new WebSocket(url)` and `<img>` can send no header, but they send cookies.
    if cookies.may_have_cookies(request):
        cookies.set_cookie(response, request, cookies.CHAT, access)
        if "Origin" in request.headers:  # a page, which shows files
            cookies.set_cookie(response, request, cookies.FILES, access)
    return response
