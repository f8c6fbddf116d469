"""Links with a one-time token, which we send, print and log.

A link never takes its host from a request of a stranger, who can choose the `Host`. The token
stands behind the `#`, so it stays in the browser: no server logs it, and no `Referer` has it.
"""

from typing import Literal

from app.services import services

Page = Literal["invite", "reset", "setup"]


def has_page() -> bool:
    """Tell whether this server has our page (`WEB_CLIENT`)."""
    return services().config.WEB_CLIENT == "on"


def link_to(page: Page, token: str, server: str | None = None) -> str:
    """Return the URL of one of our pages.

    Args:
        page: The page.
        token: Its one-time token.
        server: The URL of this server, used if `PUBLIC_URL` is not set; None: this machine.
    """
    config = services().config
    base = config.PUBLIC_URL or server or config.own_url
    return f"{base.rstrip('/')}/{page}#{token}"


def reset_link(token: str, server: str | None = None) -> str:
    """Return the link to a new password: to `PASSWORD_RESET_URL` if set, else to our page."""
    page = services().config.PASSWORD_RESET_URL
    return f"{page}#token={token}" if page else link_to("reset", token, server)


def public_reset_link(token: str) -> str | None:
    """Return the same for another machine; None if no setting tells this server's URL."""
    config = services().config
    is_known = config.PASSWORD_RESET_URL or config.PUBLIC_URL
    return reset_link(token) if is_known else None
