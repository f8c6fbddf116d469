"""How often who may do what; `docs/limits.md` describes it for people.

`limited` counts before a route runs, by the user or the address of the request. What depends on
more than that calls `consume`. Chat messages have buckets in the memory of their worker, because
they must not wait for an answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from hashlib import blake2b
from typing import Any, Literal, Self, get_args

from flask import g

from app.http.addresses import client_network
from app.limits.counters import Buckets, Counters, RedisCounters
from app.limits.status import RateLimitStatus, Throttled, View, may_throttle, statuses
from app.services import services
from config import Config

Rule = Literal[
    "login",
    "login_account",
    "registration",
    "refreshes",
    "passwords",
    "reset",
    "reset_account",
    "search",
    "people",
    "message_search",
    "posts",
    "uploads",
    "groups",
    "messages",
    "handshakes",
]

BY_USER: frozenset[Rule] = frozenset(
    ("passwords", "search", "people", "message_search", "posts", "uploads", "groups", "messages")
)

# Refusals sent to one user per minute. A client that keeps sending after that is closed.
REFUSALS_MAX = 60

_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a rate as settings have it, such as `10/minute` or `100/15 minutes`."""
        amount, _, per = text.partition("/")
        count, unit = per[: -len(per.lstrip("0123456789 "))], per.lstrip("0123456789 ")
        return cls(int(amount), int(count or 1) * _UNIT_SECONDS[unit.removesuffix("s")])


class Limits:
    """The rules of one application, and what was counted by them.

    Args:
        config: Has a rate for each rule.
        prefix: What the keys of this installation begin with in Redis.
    """

    def __init__(self, config: Config, prefix: str) -> None:
        self.is_enabled = config.RATELIMIT_ENABLED
        self.rates: dict[Rule, Rate] = {
            rule: Rate.parse(getattr(config, f"RATELIMIT_{rule.upper()}"))
            for rule in get_args(Rule)
        }
        shared = RedisCounters(config.REDIS_URL, prefix) if config.REDIS_URL else None
        self.counters = Counters(shared)
        self._key = config.JWT_SECRET_KEY.get_secret_value().encode()[: blake2b.MAX_KEY_SIZE]
        self._sockets_per_user = config.SOCKETS_PER_USER
        rate = self.rates["messages"]
        self._messages = Buckets(rate.amount, rate.seconds)
        self._refusals = Buckets(REFUSALS_MAX, 60)

    def digest(self, *parts: str) -> str:
        """Return a text of fixed length for any names, so that Redis has none of them."""
        return blake2b("\0".join(parts).encode(), digest_size=16, key=self._key).hexdigest()

    def count(self, rule: Rule, who: str, amount: int = 1) -> RateLimitStatus:
        """Add to what somebody has done, whatever is allowed.

        Args:
            rule: What it was.
            who: Who did it, or to whom.
            amount: 1, or -1 to take one back.

        Returns:
            What is left; less than 0 of it where it was too often.
        """
        rate = self.rates[rule]
        # A rate that is changed counts from the beginning.
        key = f"{who}/{rate.amount}/{rate.seconds}"
        count = self.counters.add(rule, key, rate.seconds, amount)
        return RateLimitStatus(rate.amount, rate.amount - count.number, count.seconds)

    # These are called in the event loop of a worker, so they use its memory and do not wait.

    def message_wait(self, user_id: int) -> float:
        """Count a message and return 0, or return how many seconds it comes too early."""
        return self._messages.take(user_id) if self.is_enabled else 0.0

    def message_status(self, user_id: int) -> RateLimitStatus:
        """Return how many messages a user may still send."""
        left = self._messages.left(user_id)
        return RateLimitStatus(self._messages.amount, left.number, left.seconds)

    def is_flood(self, user_id: int) -> bool:
        """Tell whether a user whose message is refused goes on in spite of many refusals."""
        return self._refusals.take(user_id) > 0

    def may_open_socket(self, sockets: int) -> bool:
        """Tell whether a user who has so many sockets on this worker may have one more."""
        return not self.is_enabled or sockets < self._sockets_per_user


def limited(rule: Rule, unless: Callable[[], bool] | None = None) -> Callable[[View], View]:
    """Decorate a route that one user, or else one address, may ask for only so often.

    It stands below `login_required`, where the user is known, and above `takes`: what is refused
    is not read, and what is wrong counts as well.

    Args:
        rule: The rate, and what shares it.
        unless: Tells whether the request is one that the rule does not concern.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if unless is None or not unless():
                consume(rule, str(g.user_id) if rule in BY_USER else client_network())
            return view(*args, **kwargs)

        guarded: Any = may_throttle(counted)
        return guarded  # type: ignore[no-any-return]

    return decorate


def consume(rule: Rule, who: str) -> RateLimitStatus | None:
    """Count something that is done.

    Args:
        rule: What it is.
        who: Who does it, or to whom.

    Returns:
        What is left; None if nothing is limited.

    Raises:
        Throttled: It was too often.
    """
    limits = services().limits
    if not limits.is_enabled:
        return None
    status = limits.count(rule, who)
    if status.remaining < 0:
        raise Throttled(RateLimitStatus(status.amount, 0, status.seconds))
    statuses().append(status)
    return status


def consume_for_account(rule: Rule, account: str) -> None:
    """Count what is done to an account, whether there is one of that name or not.

    Args:
        rule: What it is.
        account: A folded name or address.

    Raises:
        Throttled: It was too often.
    """
    consume(rule, services().limits.digest(account))


def consume_message(user_id: int) -> None:
    """Count a message that comes by REST, together with those that come by sockets.

    Raises:
        Throttled: It was one too many.
    """
    limits = services().limits
    wait = limits.message_wait(user_id)
    status = limits.message_status(user_id)
    if wait:
        raise Throttled(RateLimitStatus(status.amount, 0, wait))
    if limits.is_enabled:
        statuses().append(status)
