"""How often who may do what; `docs/limits.md` says it for people.

Flask-Limiter asks before a route, by the address or the user of the request. What depends on
more than that is asked with `consume` and `limit_password_guesses`. Chat messages have buckets in
the memory of their worker, because they must not wait for an answer.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from hashlib import blake2b
from ipaddress import IPv6Network, ip_address
from typing import Any, Literal, Never, ParamSpec, TypeVar

from flask import Flask, Response, current_app, g, request
from flask_babel import lazy_gettext as _
from flask_limiter import RequestLimit
from limits import RateLimitItem, parse
from limits.storage import Storage

from app.clock import utcnow
from app.extensions import limiter
from app.http.annotations import documents_error
from app.http.errors import ApiError
from app.limits.counters import Buckets, Count, Counters, RedisCounters
from config import Config

Rule = Literal[
    "login",
    "login_account",
    "registration",
    "reset",
    "reset_account",
    "search",
    "people",
    "posts",
    "uploads",
    "messages",
    "handshakes",
]
P = ParamSpec("P")
View = TypeVar("View", bound=Callable[..., Any])

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
BY_USER: frozenset[Rule] = frozenset(("search", "people", "posts", "uploads", "messages"))

# Of one user's messages in a minute, told one by one. Who goes on does not listen, and is closed.
REFUSALS_MAX = 60
FAMILIAR = timedelta(days=30)  # for so long after a login its network is known to the account
NETWORK_BITS = 64  # of IPv6: what one household has, and any machine in it may choose from


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """Where somebody stands with a rule.

    Attributes:
        amount: What is allowed.
        remaining: What is left of it.
        seconds: Until more is.
    """

    amount: int
    remaining: int
    seconds: float

    @classmethod
    def of(cls, rate: RateLimitItem, count: Count) -> "RateLimitStatus":
        """Return where a count stands."""
        return cls(rate.amount, max(rate.amount - count.number, 0), count.seconds)

    @property
    def whole_seconds(self) -> int:
        """The seconds, rounded up: who waits for so long has waited long enough."""
        return max(math.ceil(self.seconds), 1)

    def headers(self) -> dict[str, str]:
        """Return the headers that Flask-Limiter would send; the time is Unix time."""
        reset = int(utcnow().timestamp()) + self.whole_seconds
        return dict(zip(HEADERS, map(str, (self.amount, self.remaining, reset)), strict=True))


class Throttled(ApiError):
    """It was done too often."""

    status = 429
    code = "throttled"
    detail = _("That was too often. Please try again a little later.")

    def __init__(self, rate_status: RateLimitStatus) -> None:
        super().__init__(rate_status.headers() | {"Retry-After": str(rate_status.whole_seconds)})


class Limits:
    """The rules of one application, and what was counted by them.

    Args:
        config: Has a rate for each rule.
        prefix: What this installation is called in a Redis.
    """

    def __init__(self, config: Config, prefix: str) -> None:
        self.is_enabled = config.RATELIMIT_ENABLED
        self.rates: dict[Rule, RateLimitItem] = {
            "login": parse(config.RATELIMIT_LOGIN),
            "login_account": parse(config.RATELIMIT_LOGIN_ACCOUNT),
            "registration": parse(config.RATELIMIT_REGISTRATION),
            "reset": parse(config.RATELIMIT_RESET),
            "reset_account": parse(config.RATELIMIT_RESET_ACCOUNT),
            "search": parse(config.RATELIMIT_SEARCH),
            "people": parse(config.RATELIMIT_PEOPLE),
            "posts": parse(config.RATELIMIT_POSTS),
            "uploads": parse(config.RATELIMIT_UPLOADS),
            "messages": parse(config.RATELIMIT_MESSAGES),
            "handshakes": parse(config.RATELIMIT_HANDSHAKES),
        }
        shared = RedisCounters(config.REDIS_URL, prefix) if config.REDIS_URL else None
        self.counts = Counters(shared)
        self._key = config.JWT_SECRET_KEY.get_secret_value().encode()[: blake2b.MAX_KEY_SIZE]
        self._sockets_per_user = config.SOCKETS_PER_USER
        rate = self.rates["messages"]
        self._messages = Buckets(rate.amount, rate.get_expiry())
        self._refusals = Buckets(REFUSALS_MAX, 60)

    def digest(self, *parts: str) -> str:
        """Return a text of one length for any names, so that none are left in a Redis."""
        return blake2b("\0".join(parts).encode(), digest_size=16, key=self._key).hexdigest()

    # Of a worker's memory: called in its loop, so they ask nobody and wait for nothing

    def message_wait(self, user_id: int) -> float:
        """Let a user say one thing more and return 0, or return how many seconds it is too soon."""
        return self._messages.take(user_id) if self.is_enabled else 0.0

    def message_status(self, user_id: int) -> RateLimitStatus:
        """Return how much a user may still say."""
        left = self._messages.left(user_id)
        return RateLimitStatus(self._messages.amount, left.number, left.seconds)

    def is_flood(self, user_id: int) -> bool:
        """Tell whether a user whose message is refused has gone on in spite of many refusals."""
        return self._refusals.take(user_id) > 0

    def may_open_socket(self, sockets: int) -> bool:
        """Tell whether a user who has so many sockets on this worker may have one more."""
        return not self.is_enabled or sockets < self._sockets_per_user


def limited(rule: Rule, **options: Any) -> Callable[[Callable[P, Response]], Callable[P, Response]]:
    """Decorate a route to be asked for only so often, by one user or else by one address.

    It stands below `@jwt_required()`, where the user is known, and above `@bp.input`: what
    is refused is not read, and what is wrong counts as well.

    Args:
        rule: The rate, and what shares it.
        options: More of what Flask-Limiter's `shared_limit` understands.
    """
    limit = limiter.shared_limit(
        partial(_rate, rule),
        scope=rule,
        key_func=_user if rule in BY_USER else network,
        on_breach=_refuse,
        **options,
    )

    def decorate(view: Callable[P, Response]) -> Callable[P, Response]:
        @wraps(view)
        def granted(*args: P.args, **kwargs: P.kwargs) -> Response:
            _statuses().extend(map(_status_of, limiter.current_limits))
            return view(*args, **kwargs)

        return may_throttle(limit(granted))

    return decorate


def may_throttle(view: View) -> View:
    """Note that a view is limited, for those that spend by hand; `limited` does it by itself."""
    return documents_error(Throttled(RateLimitStatus(amount=10, remaining=0, seconds=30)))(view)


def consume(rule: Rule, who: str) -> RateLimitStatus | None:
    """Count something that was done.

    Args:
        rule: What it was.
        who: Who did it, or to whom.

    Returns:
        Where that leaves them; None if nothing is limited.

    Raises:
        Throttled: It was too often.
    """
    limits = _limits()
    if not limits.is_enabled:
        return None
    rate = limits.rates[rule]
    is_granted = limiter.limiter.hit(rate, who, rule)
    rate_status = RateLimitStatus.of(
        rate, limits.counts.recall(*_shelf_of(rate.key_for(who, rule)))
    )
    if not is_granted:
        raise Throttled(rate_status)
    _statuses().append(rate_status)
    return rate_status


def consume_for_account(rule: Rule, account: str) -> None:
    """Count what was done to an account, whether there is one of that name or not.

    Args:
        rule: What it was.
        account: A folded name or address.

    Raises:
        Throttled: It was too often.
    """
    consume(rule, _limits().digest(account))


def consume_message(user_id: int) -> None:
    """Count a message that comes by REST, together with those that come by sockets.

    Raises:
        Throttled: It was one too many.
    """
    limits = _limits()
    wait = limits.message_wait(user_id)
    rate_status = limits.message_status(user_id)
    if wait:
        raise Throttled(RateLimitStatus(rate_status.amount, 0, wait))
    if limits.is_enabled:
        _statuses().append(rate_status)


@contextmanager
def limit_password_guesses(account: str, wrong: type[Exception]) -> Iterator[None]:
    """Let somebody try a password, unless too many wrong ones were tried for this account.

    Only wrong ones count, but each from its beginning, so that a thousand at once are no
    way around it. A network that was let in before has a count of its own: strangers who
    use up the account's do not lock its owner out (docs/limits.md).

    Args:
        account: The folded name; there need be nobody of that name.
        wrong: What is raised when the password is wrong.

    Raises:
        Throttled: Too many.
    """
    limits = _limits()
    if not limits.is_enabled:
        yield
        return
    here = limits.digest(account, network())
    is_familiar = limits.counts.look("known_network", here).number > 0
    who = here if is_familiar else limits.digest(account)
    rate_status = consume("login_account", who)
    try:
        yield
    except wrong:
        raise
    except BaseException:
        _take_back("login_account", who, rate_status)
        raise
    _take_back("login_account", who, rate_status)
    remember_network(account)


def remember_network(account: str) -> None:
    """Note that the owner of an account was here, as a login or a finished reset shows.

    Args:
        account: The folded name.
    """
    limits = _limits()
    here = limits.digest(account, network())
    limits.counts.add("known_network", here, int(FAMILIAR.total_seconds()))


def _take_back(rule: Rule, who: str, rate_status: RateLimitStatus | None) -> None:
    limits = _limits()
    rate = limits.rates[rule]
    limits.counts.add(*_shelf_of(rate.key_for(who, rule)), rate.get_expiry(), -1)
    if rate_status is not None:
        _statuses().remove(rate_status)


def network() -> str:
    """Return where a request comes from: its IPv4 address, or the /64 of its IPv6 address.

    Of IPv6 one household, or one rented machine, has 2 to the 64 addresses (RFC 6177).
    """
    text = request.remote_addr or "nowhere"
    try:
        address = ip_address(text)
    except ValueError:
        return text.replace("/", "_")[:64]  # what a proxy says, whatever it is
    if address.version == 4:
        return text
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), NETWORK_BITS), strict=False).network_address)


def _user() -> str:
    return str(g.user_id)


def _limits() -> Limits:
    limits: Limits = current_app.extensions["limits"]
    return limits


def _rate(rule: Rule) -> str:
    return str(_limits().rates[rule])


def _statuses() -> list[RateLimitStatus]:
    if "rate_limit_statuses" not in g:
        g.rate_limit_statuses = []
    rate_limit_statuses: list[RateLimitStatus] = g.rate_limit_statuses
    return rate_limit_statuses


# What Flask-Limiter is given

limiter.request_filter(lambda: not _limits().is_enabled)


def _refuse(breached: RequestLimit) -> Never:
    raise Throttled(_status_of(breached))


def _status_of(limit: RequestLimit) -> RateLimitStatus:
    return RateLimitStatus.of(limit.limit, _limits().counts.recall(*_shelf_of(limit.key)))


def _shelf_of(key: str) -> tuple[str, str]:
    # `LIMITER/<who>/<rule>/<amount>/<multiple>/<unit>`: a rate that is changed counts anew.
    _namespace, who, rule = key.split("/", 2)
    return rule, who


class _Counted(Storage):
    """Lets Flask-Limiter count with the `Counters` of the application that answers.

    Its own storages would not do (limits 5.8, Flask-Limiter 4.1): that of memory is unbounded
    and walks through all of it a hundred times a second, that of Redis asks three times for
    what one question answers, and while a Redis hangs the second request that waits for it
    is answered 500.
    """

    STORAGE_SCHEME = ["counts"]
    base_exceptions = ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return _limits().counts.add(*_shelf_of(key), expiry, amount).number

    def get(self, key: str) -> int:
        return _limits().counts.look(*_shelf_of(key)).number

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError  # asked for headers, which are ours

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        raise NotImplementedError

    def clear(self, key: str) -> None:
        raise NotImplementedError


def init_app(app: Flask, config: Config, prefix: str) -> None:
    """Limit an application."""
    app.extensions["limits"] = Limits(config, prefix)
    # As if it had its hooks already: they would look at every request, for 0.1 ms. What is
    # limited asks by itself.
    app.extensions["limiter"] = {limiter}
    limiter.init_app(app)
    app.after_request(_tell)


def _tell(response: Response) -> Response:
    # Flask-Limiter's own headers would put a Retry-After on answers that refuse nothing, and
    # over that of a 503.
    rate_limit_statuses: list[RateLimitStatus] = g.get("rate_limit_statuses", [])
    if rate_limit_statuses and response.status_code != Throttled.status:
        tightest = min(rate_limit_statuses, key=lambda each: each.remaining)
        response.headers.update(tightest.headers())
    return response
