"""The rate limits; `docs/limits.md` describes them for operators.

`limited` counts a request before its route runs, by user or by address. Code that counts by
something else calls `consume`. Chat messages are counted in token buckets in the worker's memory,
because they must not wait for a Redis.
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

UserRule = Literal[
    "passwords",
    "search",
    "people",
    "message_search",
    "posts",
    "uploads",
    "files",
    "groups",
    "push",
    "messages",
    "changes",
]
Rule = Literal[
    UserRule,
    "login",
    "login_account",
    "registration",
    "refreshes",
    "reset",
    "reset_account",
    "text",
    "handshakes",
]

BY_USER: frozenset[Rule] = frozenset(get_args(UserRule))

# Refusals sent to one user per minute. A client that keeps sending after that is closed.
REFUSALS_MAX = 60

# Frames of one user on all streams of a worker that are no messages: read marks, signs of typing,
# pings. A page sends some twenty when it opens, and one a second while somebody types and reads.
FRAMES_MAX = 300
FRAMES_SECONDS = 30  # in which so many come back

_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` in `seconds`."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a rate of the settings, such as `10/minute` or `100/15 minutes`."""
        amount, _, per = text.partition("/")
        count, unit = per[: -len(per.lstrip("0123456789 "))], per.lstrip("0123456789 ")
        return cls(int(amount), int(count or 1) * _UNIT_SECONDS[unit.removesuffix("s")])


class Limits:
    """The limits of one application and their counters.

    Args:
        config: The settings, with a rate for each rule.
        prefix: The prefix of this installation's keys in Redis.
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
        self._text = Buckets(self.rates["text"].amount, self.rates["text"].seconds)
        self._refusals = Buckets(REFUSALS_MAX, 60)
        self._frames = Buckets(FRAMES_MAX, FRAMES_SECONDS)

    def digest(self, *parts: str) -> str:
        """Return a digest of names, so that no name is stored in Redis."""
        return blake2b("\0".join(parts).encode(), digest_size=16, key=self._key).hexdigest()

    def count(self, rule: Rule, who: str, amount: int = 1) -> RateLimitStatus:
        """Count something without refusing it.

        Args:
            rule: The limit.
            who: The user, account or network that it is counted for.
            amount: How much; less than 0 to take it back.

        Returns:
            What is left; negative if the limit is exceeded.
        """
        rate = self.rates[rule]
        # The rate is part of the key, so a changed rate starts at 0.
        key = f"{who}/{rate.amount}/{rate.seconds}"
        count = self.counters.add(rule, key, rate.seconds, amount)
        return RateLimitStatus(rate.amount, rate.amount - count.number, count.seconds)

    # The event loop of a worker calls these, so they use memory only and never wait.

    def message_wait(self, user_id: int, text: str) -> float:
        """Count a message and return 0; if it is one too many, return the seconds to wait."""
        if not self.is_enabled:
            return 0.0
        return self._messages.take(user_id) or self.text_wait(user_id, text)

    def text_wait(self, user_id: int, text: str) -> float:
        """Count the kilobytes that a user stores; return what `message_wait` does."""
        return self._text.take(user_id, len(text.encode()) / 1000) if self.is_enabled else 0.0

    def message_status(self, user_id: int) -> RateLimitStatus:
        """Return how many messages a user may still send."""
        left = self._messages.left(user_id)
        return RateLimitStatus(self._messages.amount, left.number, left.seconds)

    def is_flood(self, user_id: int) -> bool:
        """Count a refused message; tell whether the user was refused more than `REFUSALS_MAX`."""
        return self._refusals.take(user_id) > 0

    def is_frame_flood(self, user_id: int) -> bool:
        """Count a frame that is no message; tell whether the user has sent too many."""
        return self.is_enabled and self._frames.take(user_id) > 0

    def may_open_socket(self, sockets: int) -> bool:
        """Tell whether a user with this number of sockets on this worker may open one more."""
        return not self.is_enabled or sockets < self._sockets_per_user


def limited(rule: Rule, unless: Callable[[], bool] | None = None) -> Callable[[View], View]:
    """Limit the requests to a route, by user for rules in `BY_USER`, else by network.

    Place it below `login_required`, so that the user is known, and above `takes`, so that a refused
    request is not read and an invalid one is counted.

    Args:
        rule: The limit. Routes with the same rule share it.
        unless: Tells whether the current request is exempt.
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
    """Count something, and refuse it beyond the limit.

    Args:
        rule: The limit.
        who: The user, account or network that it is counted for.

    Returns:
        What is left; None if limits are switched off.

    Raises:
        Throttled: The limit is exceeded.
    """
    limits = services().limits
    if not limits.is_enabled:
        return None
    status = limits.count(rule, who)
    if status.remaining < 0:
        raise Throttled(RateLimitStatus(status.amount, 0, status.seconds))
    statuses().append(status)
    return status


def consume_file(user_id: int, length: int) -> None:
    """Count the kilobytes of a file that a user sends. A refused one is not counted.

    Args:
        user_id: The user.
        length: In bytes, as far as it is known before it has come.

    Raises:
        Throttled: The limit is exceeded.
    """
    limits = services().limits
    if not limits.is_enabled:
        return
    amount = -(-length // 1000)
    status = limits.count("files", str(user_id), amount)
    if status.remaining < 0:
        limits.count("files", str(user_id), -amount)
        raise Throttled(RateLimitStatus(status.amount, 0, status.seconds))
    statuses().append(status)


def consume_for_account(rule: Rule, account: str) -> None:
    """Count something for an account, known or unknown.

    Args:
        rule: The limit.
        account: A folded name or address.

    Raises:
        Throttled: The limit is exceeded.
    """
    consume(rule, services().limits.digest(account))


def consume_message(user_id: int, text: str) -> None:
    """Count a message that came by REST, in the same bucket as messages by WebSocket.

    Raises:
        Throttled: The limit is exceeded.
    """
    limits = services().limits
    wait = limits.message_wait(user_id, text)
    status = limits.message_status(user_id)
    if wait:
        raise Throttled(RateLimitStatus(status.amount, 0, wait))
    if limits.is_enabled:
        statuses().append(status)


def consume_text(user_id: int, text: str) -> None:
    """Count the bytes of a text that is no message, together with those of messages.

    Raises:
        Throttled: The limit is exceeded.
    """
    limits = services().limits
    if wait := limits.text_wait(user_id, text):
        raise Throttled(RateLimitStatus(limits.rates["text"].amount, 0, wait))
