"""`/accounts/api/`: logging in and out, tokens and sessions."""

from typing import Any

from flask import Blueprint, Response, request
from flask_babel import lazy_gettext as _

from app import threads
from app.accounts import cookies, sessions, tokens
from app.accounts.devices import kinds_of
from app.accounts.login import find_candidate, log_in
from app.accounts.schemas import (
    AccessOut,
    CredentialsIn,
    NothingOut,
    RefreshIn,
    SessionOut,
    TokenIn,
    TokensOut,
)
from app.accounts.sessions import Device, SessionNotFound
from app.accounts.tokens import NoActiveAccount, TokenNotValid, current_user, login_required
from app.clock import utcnow
from app.database.keyset import PageRequest
from app.database.prepared import AnyRow
from app.http.annotations import documents_error, documents_header, documents_path, returns
from app.http.conditional import conditional
from app.http.errors import BadInput, Overloaded
from app.http.fields import whole_number
from app.http.json import json_response
from app.http.pagination import DEFAULT_ITEMS, ITEMS_MAX, list_response, paged
from app.http.validation import takes
from app.limits.password_guesses import limit_password_guesses
from app.limits.rules import limited

bp = Blueprint("sessions", __name__, url_prefix="/accounts/api")

ACCESS_COOKIES = {"header": "Set-Cookie", "sentence": "The access token, for sockets and files."}


@bp.post("/token/")
@limited("login")
@takes(CredentialsIn)
@returns(TokensOut)
@documents_header(**ACCESS_COOKIES)
@documents_error(NoActiveAccount, Overloaded)
def create_token(body: CredentialsIn) -> Response:
    """Log in: get a refresh token and an access token.

    An e-mail address does for a username. Wrong name, wrong password and deactivated user get
    the same answer.
    """
    candidate = find_candidate(body.username)
    threads.act_for(candidate.key)
    with limit_password_guesses(candidate.key, wrong=NoActiveAccount):
        user_id, session_id = log_in(candidate, body.password, device())
    return logged_in(user_id, session_id, in_cookie=body.cookie)


@bp.post("/token/refresh/")
@limited("refreshes")
@takes(RefreshIn)
@returns(AccessOut)
@documents_header(**ACCESS_COOKIES)
@documents_error(TokenNotValid)
def refresh_token(body: RefreshIn) -> Response:
    """Get a new access token for a refresh token, which stays valid.

    Ask for it shortly before the access token expires. The refresh token stays the same.
    """
    caller = tokens.caller_of(_refresh_token(body), tokens.REFRESH)
    sessions.touch(caller.session_id, device())
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


@bp.get("/sessions/")
@login_required
@returns(list[SessionOut])
@conditional
@paged(default=DEFAULT_ITEMS, maximum=ITEMS_MAX)
def list_sessions(window: PageRequest) -> Response:
    """List the caller's open sessions.

    Each login is one, with its address, device and last use; `current` is the one that asks.
    """

    def shown(row: AnyRow) -> Any:
        return row._asdict() | {
            "device": kinds_of(row.client)._asdict(),
            "current": row.id == current_user.session_id,
        }

    return list_response(sessions.ALIVE, window, shown, partition=current_user.id, now=utcnow())


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


def device() -> Device:
    """Return the device that sends the request."""
    return Device(request.remote_addr or "", request.user_agent.string)


def _refresh_token(body: RefreshIn) -> str:
    token = body.refresh or cookies.refresh_token_of(request)
    if not token:
        raise BadInput({"refresh": [_("This field is required.")]})
    return token


def logged_in(user_id: int, session_id: int, *, in_cookie: bool) -> Response:
    """Return the tokens of a session that has just been opened, in a response.

    Args:
        user_id: Whose session it is.
        session_id: The session.
        in_cookie: Whether the refresh token goes into a cookie instead, as a page asks.
    """
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
