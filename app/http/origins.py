"""Tells from the `Origin` of a request which page of a browser sent it (RFC 6454)."""

from collections.abc import Collection

from flask import Request


def is_own_origin(request: Request) -> bool:
    """Tell whether a request comes from a page of this server."""
    host = request.host.lower()
    own = {f"https://{host}"}
    if not request.is_secure:
        # Behind a proxy that ends TLS and is not counted in PROXY_HOPS the scheme is not known, so
        # compare the host only.
        own.add(f"http://{host}")
    return request.headers.get("Origin", "").lower() in own


def is_known_origin(request: Request, origins: Collection[str]) -> bool:
    """Tell whether a request comes from a page of this server or of a listed origin."""
    return is_own_origin(request) or request.headers.get("Origin", "").lower() in origins


def is_foreign_origin(request: Request, origins: Collection[str]) -> bool:
    """Tell whether a request comes from a page of another site. Programs send no `Origin`."""
    return "Origin" in request.headers and not is_known_origin(request, origins)
