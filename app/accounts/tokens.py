"""Owns the tokens: what they say and how they are checked. The only file that knows JWT.

A token names its user twice: `sub` as RFC 7519 has it, a string, and `user_id`, a
number, which the clients of Django SimpleJWT read, together with `token_type`. `sid` is
the session that it belongs to: with that one revoked, it is worth nothing.

There is no `iss` and no `aud`: the key is that of one installation, and whoever has another
one has no token of ours. A token that names either was made for somebody else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from inspect import unwrap
from typing import Any

from flask import Flask, Response, current_app
from flask_babel import lazy_gettext as _
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    decode_token,
    jwt_required,
)
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError
from sqlalchemy import bindparam, select

from app.accounts.models import Session, User
from app.clock import utcnow
from app.database.prepared import Prepared
from app.database.transactions import reading
from app.http.errors import ApiError
from app.http.validation import LARGEST_ID
from config import Config

ACCESS = "access"
REFRESH = "refresh"
COOKIE = "beseda_access"

REMEMBERED_MAX = 4096  # tokens; with what they say about 1 KiB each


class TokenManager(JWTManager):
    """Verifies a token when it sees it first, and then only whether it has expired.

    Flask-JWT-Extended (4.7) takes a token apart four times for one request, and PyJWT looks at
    each of its letters each time: a sixth of what a small request takes. Whether its session is
    alive and its user may log in is asked of the database as ever.
    """

    def _decode_jwt_from_config(
        self, encoded_token: str, csrf_value: Any = None, allow_expired: bool = False
    ) -> dict[str, Any]:
        if csrf_value is None and not allow_expired:
            claims = _verified(encoded_token, current_app.config["JWT_SECRET_KEY"])
            if claims.get("exp", 0) > utcnow().timestamp():
                return dict(claims)
        # Once more, for the error that says so.
        return super()._decode_jwt_from_config(encoded_token, csrf_value, allow_expired)


jwt = TokenManager()


@lru_cache(REMEMBERED_MAX)
def _verified(token: str, _key: str) -> dict[str, Any]:
    # Only what is valid is remembered: who makes tokens up takes nobody's place here.
    return JWTManager._decode_jwt_from_config(jwt, token)


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
        claims = decode_token(token)
    except (PyJWTError, JWTExtendedException, ValueError):
        raise TokenNotValid from None
    if token_type not in (claims["type"], None) or (caller := _find_caller(claims)) is None:
        raise TokenNotValid
    return caller


_CALLER = Prepared(
    select(User.id, User.username, User.email, User.is_admin, Session.id)
    .join(Session, Session.user_id == User.id)
    .where(
        Session.id == bindparam("sid"),
        Session.revoked_at.is_(None),
        User.id == bindparam("user_id"),
        User.is_active,
    )
)


def _find_caller(claims: dict[str, Any]) -> Caller | None:
    if not _are_ours(claims):
        return None
    with reading() as connection:
        row = _CALLER.first(connection, {"sid": claims["sid"], "user_id": claims["user_id"]})
    return None if row is None else Caller(*row)


def _are_ours(claims: dict[str, Any]) -> bool:
    # The key may have signed other things: the tokens of a server that stood here before, say.
    # A claim that is not as we make it would mean something else here, or nothing at all.
    ids = (claims.get("user_id"), claims.get("sid"))
    return (
        all(type(each) is int and 0 < each <= LARGEST_ID for each in ids)
        and claims["sub"] == str(claims["user_id"])
        and claims.get("token_type") in (ACCESS, REFRESH)
        and claims["type"] == claims["token_type"]
        and "exp" in claims
        and not claims.keys() & {"iss", "aud"}  # RFC 7519, section 4.1.3
    )


_ASKS = jwt_required()(lambda: None).__code__  # what runs, whatever view it guards


def are_asked_by(view: Callable[..., Any]) -> bool:
    """Tell whether a view is behind `@jwt_required()`."""
    return unwrap(view, stop=lambda each: each.__code__ is _ASKS).__code__ is _ASKS


def settings(config: Config) -> dict[str, Any]:
    """Return what Flask-JWT-Extended has to know."""
    return {
        "JWT_SECRET_KEY": config.JWT_SECRET_KEY.get_secret_value(),
        "JWT_ALGORITHM": "HS256",
        "JWT_DECODE_ALGORITHMS": ["HS256"],
        "JWT_TOKEN_LOCATION": ["headers"],
        "JWT_ACCESS_TOKEN_EXPIRES": config.JWT_ACCESS_TOKEN_EXPIRES,
        "JWT_REFRESH_TOKEN_EXPIRES": config.JWT_REFRESH_TOKEN_EXPIRES,
    }


def init_app(app: Flask) -> None:
    """Let `@jwt_required()` refuse with our errors and find our callers."""
    jwt.init_app(app)


def _refuse(error: type[_Unauthorized]) -> Response:
    return error().response()


# The loaders answer instead of raising: Flask-JWT-Extended calls them from its own error handlers.
jwt.unauthorized_loader(lambda _reason: _refuse(NotAuthenticated))
jwt.invalid_token_loader(lambda _reason: _refuse(TokenNotValid))
jwt.expired_token_loader(lambda _header, _claims: _refuse(TokenNotValid))
jwt.revoked_token_loader(lambda _header, _claims: _refuse(TokenNotValid))
jwt.needs_fresh_token_loader(lambda _header, _claims: _refuse(TokenNotValid))
jwt.token_verification_failed_loader(lambda _header, _claims: _refuse(TokenNotValid))
jwt.user_lookup_error_loader(lambda _header, _claims: _refuse(TokenNotValid))
jwt.user_lookup_loader(lambda _header, claims: _find_caller(claims))
