"""The cookies of a browser: a copy of the access token, and the refresh token of a page.

Scripts can read neither, other sites cannot have them sent (`SameSite=Strict`), and each goes to
one path only.
"""

from flask import Request, Response, current_app

from app.accounts import tokens
from app.http.origins import is_foreign_origin, is_own_origin
from app.services import services

CHAT = tokens.COOKIE
REFRESH = "beseda_refresh"

_PATHS = {CHAT: "/messenger/ws/", REFRESH: "/accounts/api/token/"}
_LIFETIMES = {CHAT: "JWT_ACCESS_TOKEN_EXPIRES", REFRESH: "JWT_REFRESH_TOKEN_EXPIRES"}


def may_have_cookies(request: Request) -> bool:
    """Tell whether the answer to a request may set cookies.

    A page of another site can post a form here and so log its reader in as somebody else. It must
    not leave that person's cookies behind.
    """
    return not is_foreign_origin(request, services().config.CORS_ORIGINS)


def may_keep_refresh_token(request: Request) -> bool:
    """Tell whether a refresh token in a cookie would come back from where a request comes."""
    return is_own_origin(request) or "Origin" not in request.headers


def set_cookie(response: Response, request: Request, name: str, token: str) -> None:
    """Set one of our cookies.

    Args:
        response: The answer that carries it.
        request: The request; over HTTPS the cookie never goes over plain HTTP later.
        name: `CHAT` or `REFRESH`.
        token: Its value.
    """
    response.set_cookie(
        name,
        token,
        max_age=current_app.config[_LIFETIMES[name]],
        path=_PATHS[name],
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )


def delete_cookies(response: Response, request: Request) -> None:
    """Delete all of our cookies."""
    for name, path in _PATHS.items():
        response.delete_cookie(
            name, path=path, secure=request.is_secure, httponly=True, samesite="Strict"
        )


def refresh_token_of(request: Request) -> str | None:
    """Return the refresh token that a page keeps in its cookie, or None if it has none.

    Raises:
        TokenNotValid: There is one, but the request does not come from a page of this server.
    """
    token = request.cookies.get(REFRESH)
    if token is not None and not is_own_origin(request):
        raise tokens.TokenNotValid
    return token
