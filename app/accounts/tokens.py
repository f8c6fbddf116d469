"""Owns the tokens: their claims and how they are checked. The only file that knows JWT.

A token names its user twice: `sub`, a string (RFC 7519), and `user_id`, a number, which clients of
Django SimpleJWT read together with `token_type`. `sid` is the session of the token; when the
session is revoked, the token is not valid any more.

There is no `iss` and no `aud`: each installation has its own key. A token with one of them was made
for another application.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, wraps
from typing import Any

from flask import Flask, g, request
from flask_babel import lazy_gettext as _
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token
from jwt import PyJWTError, decode
from sqlalchemy import bindparam, select
from werkzeug.datastructures import Headers
from werkzeug.local import LocalProxy

from app import threads
from app.accounts.models import Session, User
from app.clock import utcnow
from app.database.prepared import Prepared
from app.database.transactions import reading
from app.database.types import LARGEST_ID
from app.http.annotations import View, notes_of
from app.http.errors import ApiError
from app.services import services
from config import Config

ACCESS = "access"
REFRESH = "refresh"
COOKIE = "beseda_access"

# How far the clock of the machine that made a token may be ahead.
CLOCK_SKEW = timedelta(seconds=10)
REQUIRED_CLAIMS = ["exp", "iat", "jti", "sub", "type", "token_type"]

REMEMBERED_MAX = 4096  # tokens with their claims, about 1 KiB each


jwt = JWTManager()


class _Unauthorized(ApiError):
    status = 401

    def __init__(self) -> None:
        super().__init__({"WWW-Authenticate": "Bearer"})


class NotAuthenticated(_Unauthorized):
    """No token came with the request."""

    code = "not_authenticated"
    detail = _("Please log in: the request has no access token.")


class TokenNotValid(_Unauthorized):
    """The token is broken, expired, revoked, of the wrong type, or its user is gone."""

    code = "token_not_valid"
    detail = _("The token is not valid or has expired.")


class NoActiveAccount(_Unauthorized):
    """No active user has this name and this password. The client is not told which is wrong."""

    code = "no_active_account"
    detail = _("There is no active account with this name and password.")


@dataclass(frozen=True, slots=True)
class Caller:
    """The user and the session of a valid token."""

    id: int
    username: str
    email: str
    is_admin: bool
    session_id: int


def issue_access(user_id: int, session_id: int) -> str:
    """Return a token for requests to the API, valid for `JWT_ACCESS_TOKEN_EXPIRES`."""
    claims = _claims(user_id, session_id, ACCESS)
    return str(create_access_token(str(user_id), additional_claims=claims))


def issue_refresh(user_id: int, session_id: int) -> str:
    """Return a token that gets new access tokens and can do nothing else."""
    claims = _claims(user_id, session_id, REFRESH)
    return str(create_refresh_token(str(user_id), additional_claims=claims))


def _claims(user_id: int, session_id: int, token_type: str) -> dict[str, Any]:
    return {"user_id": user_id, "sid": session_id, "token_type": token_type}


def bearer_token(headers: Headers) -> str | None:
    """Return the token of an `Authorization` header, or None if it has none.

    The scheme may be written in any case (RFC 9110, section 11.1).
    """
    scheme, _, token = headers.get("Authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def login_required_by(find_token: Callable[[], str | None]) -> Callable[[View], View]:
    """Decorate a view that refuses requests without a valid access token.

    `current_user` in the view is the caller.

    Args:
        find_token: Returns the token of the current request, or None if it has none.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def as_caller(*args: Any, **kwargs: Any) -> Any:
            token = find_token()
            if token is None:
                raise NotAuthenticated
            g.caller = caller_of(token)
            g.user_id = g.caller.id  # for the access log and for limits by user
            threads.act_for(f"user {g.user_id}")
            return view(*args, **kwargs)

        notes = notes_of(as_caller)
        notes.needs_token = True
        notes.errors += [NotAuthenticated, TokenNotValid]
        guarded: Any = as_caller
        return guarded  # type: ignore[no-any-return]

    return decorate


def login_required(view: View) -> View:
    """Refuse requests without a valid access token in `Authorization`, as `login_required_by`."""
    return login_required_by(lambda: bearer_token(request.headers))(view)


# Only for views with `login_required`.
current_user: Caller = LocalProxy(lambda: g.caller)  # type: ignore[assignment]


def caller_of(token: str, token_type: str | None = ACCESS) -> Caller:
    """Return the user of a token.

    Args:
        token: The token as the client sent it.
        token_type: The type that is required; None: either.

    Raises:
        TokenNotValid: It is not a valid token of this type, its session has ended, or its user
            is deactivated or erased.
    """
    try:
        claims = _verified(token, services().config.JWT_SECRET_KEY.get_secret_value())
    except (PyJWTError, ValueError):
        raise TokenNotValid from None
    if not _are_ours(claims) or claims["exp"] <= utcnow().timestamp():
        raise TokenNotValid
    if token_type not in (claims["type"], None) or (caller := _find_caller(claims)) is None:
        raise TokenNotValid
    return caller


@lru_cache(REMEMBERED_MAX)
def _verified(token: str, key: str) -> dict[str, Any]:
    # Decoding by PyJWT takes a tenth of a small request, so the claims of valid tokens are cached.
    # The session is checked in the database each time.
    return decode(
        token, key, algorithms=["HS256"], leeway=CLOCK_SKEW, options={"require": REQUIRED_CLAIMS}
    )


_CALLER = Prepared(
    select(User.id, User.username, User.email, User.is_admin, Session.id, User.language)
    .join(Session, Session.user_id == User.id)
    .where(
        Session.id == bindparam("sid"),
        Session.revoked_at.is_(None),
        User.id == bindparam("user_id"),
        User.is_active,
    )
)


def _find_caller(claims: dict[str, Any]) -> Caller | None:
    with reading() as connection:
        row = _CALLER.first(connection, {"sid": claims["sid"], "user_id": claims["user_id"]})
    if row is None:
        return None
    *caller, language = row
    g.language = language  # used if the request has no `Accept-Language`
    return Caller(*caller)


def _are_ours(claims: dict[str, Any]) -> bool:
    # The key may have signed other tokens, of an earlier server for example. A claim that differs
    # from ours would mean something else here.
    ids = (claims.get("user_id"), claims.get("sid"))
    return (
        all(type(each) is int and 0 < each <= LARGEST_ID for each in ids)
        and type(claims["exp"]) is int
        and claims["sub"] == str(claims["user_id"])
        and claims.get("token_type") in (ACCESS, REFRESH)
        and claims["type"] == claims["token_type"]
        and not claims.keys() & {"iss", "aud"}  # RFC 7519, section 4.1.3
    )


def settings(config: Config) -> dict[str, Any]:
    """Return the configuration of Flask-JWT-Extended."""
    return {
        "JWT_SECRET_KEY": config.JWT_SECRET_KEY.get_secret_value(),
        "JWT_ALGORITHM": "HS256",
        "JWT_ACCESS_TOKEN_EXPIRES": config.JWT_ACCESS_TOKEN_EXPIRES,
        "JWT_REFRESH_TOKEN_EXPIRES": config.JWT_REFRESH_TOKEN_EXPIRES,
    }


def init_app(app: Flask) -> None:
    """Let an application issue tokens."""
    jwt.init_app(app)
