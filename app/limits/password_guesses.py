"""Limits how many wrong passwords may be tried for one account."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from app.http.addresses import client_network
from app.limits.rules import consume
from app.limits.status import RateLimitStatus, statuses
from app.services import services

KNOWN = timedelta(days=30)  # how long the network of a login is known to the account


@contextmanager
def limit_password_guesses(account: str, wrong: type[Exception]) -> Iterator[None]:
    """Count an attempt at a password; refuse it after too many wrong ones for this account.

    An attempt is counted before the check and taken back unless the password was wrong, so parallel
    guesses cannot slip through. A network from which the owner has logged in has its own counter,
    so strangers who use up the account's attempts do not lock the owner out (docs/limits.md).

    Args:
        account: The folded name, of a known or unknown account.
        wrong: The exception that the block raises for a wrong password.

    Raises:
        Throttled: There were too many wrong attempts.
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
    """Note the network of a request as known to an account, after a login or a password reset.

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
