"""Owns the cookies of a browser: two copies of the access token, and the page's refresh token.

Scripts cannot read them, requests from other sites do not carry them (`SameSite=Strict`), and the
browser sends each of them to one path only.
"""

from flask import Request, Response, current_app

from app.accounts import tokens
from app.http.origins import is_foreign_origin, is_own_origin
from app.services import services

CHAT = tokens.COOKIE
FILES = "beseda_files"
REFRESH = "beseda_refresh"

_PATHS = {
    CHAT: "/messenger/ws/",
    FILES: "/messenger/api/files/",
    REFRESH: "/accounts/api/token/",
}
_LIFETIMES = {
    CHAT: "JWT_ACCESS_TOKEN_EXPIRES",
    FILES: "JWT_ACCESS_TOKEN_EXPIRES",
    REFRESH: "JWT_REFRESH_TOKEN_EXPIRES",
}


def may_have_cookies(request: Request) -> bool:
    """Tell whether the response to a request may set cookies.

    A page of another site can post a login form here with somebody else's name and password. Its
    reader's browser must not keep the cookies of that account.
    """
    return not is_foreign_origin(request, services().config.CORS_ORIGINS)


def may_keep_refresh_token(request: Request) -> bool:
    """Tell whether the page that sends a request would send the refresh cookie back to us."""
    return is_own_origin(request) or "Origin" not in request.headers


def set_cookie(response: Response, request: Request, name: str, token: str) -> None:
    """Set one of our cookies.

    Args:
        response: The response that sets it.
        request: The request. If it came by HTTPS, the browser never sends the cookie by HTTP.
        name: `CHAT`, `FILES` or `REFRESH`.
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


def cookie_of(request: Request, name: str) -> str | None:
    """Return the value of one of our cookies; None if it is not there, or there several times.

    A page of a sub-domain can set a cookie of the same name with a longer path. Browsers send both,
    that one first, and nothing tells which of them is ours.
    """
    values = request.cookies.getlist(name)
    return values[0] if len(values) == 1 else None


def refresh_token_of(request: Request) -> str | None:
    """Return the refresh token of the cookie, or None if there is no such cookie.

    Raises:
        TokenNotValid: The cookie came with a request that is not from a page of this server, or
            there are several.
    """
    if REFRESH not in request.cookies:
        return None
    token = cookie_of(request, REFRESH)
    if token is None or not is_own_origin(request):
        raise tokens.TokenNotValid
    return token


def files_token_of(request: Request) -> str | None:
    """Return the access token of the cookie for files, or None if it does not count.

    An `<img>` can send no header. The cookie is for reading: a request that changes something
    needs a header, and so does a page of an origin that we do not know.
    """
    if request.method not in ("GET", "HEAD"):
        return None
    if is_foreign_origin(request, services().config.CORS_ORIGINS):
        return None
    return request.cookies.get(FILES)
