"""Addresses of pages that take a one-time token: they are sent, printed and logged.

They are never made from a request whose `Host` a stranger has chosen. The token stands behind the
`#`: there it stays in the browser and reaches no log of a server, and no `Referer`.
"""

from typing import Literal

from app.services import services

Page = Literal["invite", "reset", "setup"]


def has_page() -> bool:
    """Tell whether this server has our page (`WEB_CLIENT`)."""
    return services().config.WEB_CLIENT == "on"


def link_to(page: Page, token: str, server: str | None = None) -> str:
    """Return the address of one of our pages.

    Args:
        page: The page.
        token: What it takes.
        server: The address of this server, where the caller knows it better than `PUBLIC_URL` is
            set; None: this machine.
    """
    config = services().config
    base = config.PUBLIC_URL or server or config.own_url
    return f"{base.rstrip('/')}/{page}#{token}"


def reset_link(token: str, server: str | None = None) -> str:
    """Return the address where a new password is chosen, `PASSWORD_RESET_URL` if it is set."""
    page = services().config.PASSWORD_RESET_URL
    return f"{page}#token={token}" if page else link_to("reset", token, server)


def public_reset_link(token: str) -> str | None:
    """Return the same for somebody on another machine; None if no setting tells the address."""
    config = services().config
    is_known = config.PASSWORD_RESET_URL or config.PUBLIC_URL
    return reset_link(token) if is_known else None
