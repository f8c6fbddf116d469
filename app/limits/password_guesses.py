"""How many wrong passwords may be tried for one account."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from app.http.addresses import client_network
from app.limits.rules import consume
from app.limits.status import RateLimitStatus, statuses
from app.services import services

KNOWN = timedelta(days=30)  # for so long after a login its network is known to the account


@contextmanager
def limit_password_guesses(account: str, wrong: type[Exception]) -> Iterator[None]:
    """Let somebody try a password, unless too many wrong ones were tried for this account.

    Attempts are counted before the check and taken back unless the password was wrong, so parallel
    guesses cannot slip through. A network from which the owner has logged in has a count of its
    own: strangers who use up the account's do not lock its owner out (docs/limits.md).

    Args:
        account: The folded name; there need be nobody of that name.
        wrong: What is raised when the password is wrong.

    Raises:
        Throttled: Too many were wrong.
    """
    limits = services().limits
    if not limits.is_enabled:
        yield
        return
    here = limits.digest(account, client_network())
    is_known = limits.counters.get("known_network", here).number > 0
    who = here if is_known else limits.digest(account)
    status = consume("login_account", who)
    try:
        yield
    except wrong:
        raise
    except BaseException:
        _take_back(who, status)
        raise
    _take_back(who, status)
    remember_network(account)


def remember_network(account: str) -> None:
    """Note that the owner of an account was here, as a login or a finished reset shows.

    Args:
        account: The folded name.
    """
    limits = services().limits
    here = limits.digest(account, client_network())
    limits.counters.add("known_network", here, int(KNOWN.total_seconds()))


def _take_back(who: str, status: RateLimitStatus | None) -> None:
    services().limits.count("login_account", who, -1)
    if status is not None:
        statuses().remove(status)
