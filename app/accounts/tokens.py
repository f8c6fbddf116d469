"""Owns the tokens: what they say and how they are checked. The only file that knows JWT.

A token names its user twice: `sub` as RFC 7519 has it, a string, and `user_id`, a
number, which the clients of Django SimpleJWT read, together with `token_type`. `sid` is
the session that it belongs to: with that one revoked, it is worth nothing.

There is no `iss` and no `aud`: the key is that of one installation, and whoever has another
one has no token of ours. A token that names either was made for somebody else.
"""

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

# A token may come from a machine whose clock is ahead by so much.
CLOCK_SKEW = timedelta(seconds=10)
REQUIRED_CLAIMS = ["exp", "iat", "jti", "sub", "type", "token_type"]

REMEMBERED_MAX = 4096  # tokens; with what they say about 1 KiB each


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
    """Nobody active has this name and this password; which of them is wrong stays unsaid."""

    code = "no_active_account"
    detail = _("There is no active account with this name and password.")


@dataclass(frozen=True, slots=True)
class Caller:
    """The user whom a valid token speaks for, and the session in which it does."""

    id: int
    username: str
    email: str
    is_admin: bool
    session_id: int


def issue_access(user_id: int, session_id: int) -> str:
    """Return a token that opens the API for some minutes."""
    claims = _claims(user_id, session_id, ACCESS)
    return str(create_access_token(str(user_id), additional_claims=claims))


def issue_refresh(user_id: int, session_id: int) -> str:
    """Return a token that is good for new access tokens, and for nothing else."""
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


def login_required(view: View) -> View:
    """Refuse requests without a good access token; in the view `current_user` is the caller."""

    @wraps(view)
    def as_caller(*args: Any, **kwargs: Any) -> Any:
        token = bearer_token(request.headers)
        if token is None:
            raise NotAuthenticated
        g.caller = caller_of(token)
        g.user_id = g.caller.id  # for the access log and for limits by user
        threads.acting_for.set(f"user {g.user_id}")
        return view(*args, **kwargs)

    notes = notes_of(as_caller)
    notes.needs_token = True
    notes.errors += [NotAuthenticated, TokenNotValid]
    guarded: Any = as_caller
    return guarded  # type: ignore[no-any-return]


# Behind `login_required`; outside of it there is no such attribute.
current_user: Caller = LocalProxy(lambda: g.caller)  # type: ignore[assignment]


def caller_of(token: str, token_type: str | None = ACCESS) -> Caller:
    """Return the user whom a token speaks for.

    Args:
        token: As a client sent it.
        token_type: Which type it has to be of; None takes both.

    Raises:
        TokenNotValid: It is not a valid token of this type, its session is over, or its user
            cannot log in any more.
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
    # PyJWT looks at each letter of a token each time, which is a tenth of a small request, so what
    # a valid one says is remembered. Whether its session is alive is asked of the database as ever.
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
    g.language = language  # of sentences, where the request does not ask for one
    return Caller(*caller)


def _are_ours(claims: dict[str, Any]) -> bool:
    # The key may have signed other things: the tokens of a server that stood here before, say.
    # A claim that is not as we make it would mean something else here, or nothing at all.
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
    """Return what Flask-JWT-Extended has to know."""
    return {
        "JWT_SECRET_KEY": config.JWT_SECRET_KEY.get_secret_value(),
        "JWT_ALGORITHM": "HS256",
        "JWT_ACCESS_TOKEN_EXPIRES": config.JWT_ACCESS_TOKEN_EXPIRES,
        "JWT_REFRESH_TOKEN_EXPIRES": config.JWT_REFRESH_TOKEN_EXPIRES,
    }


def init_app(app: Flask) -> None:
    """Let an application issue tokens."""
    jwt.init_app(app)
