"""Counts events, in bounded memory or in a Redis that all workers share.

Knows no limits and no requests: a counter is named by two texts. Time is monotonic.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from redis import BlockingConnectionPool, Redis, RedisError

log = logging.getLogger(__name__)

COUNTS_MAX = 50_000  # of one rule in memory, about 15 MB; beyond it the oldest are dropped
TIMEOUT_SECONDS = 0.1  # for each reply of the Redis; a request waits for it
PROBE_SECONDS = 1.0  # between two checks whether the Redis works again
_REDIS_CONNECTIONS = 8
_NOTHING = (0, 0.0)
_BUCKETS_MAX = 10_000  # beyond this, full buckets are removed


@dataclass(frozen=True, slots=True)
class Count:
    """The value of a counter, and the seconds until it expires."""

    number: int
    seconds: float


class MemoryCounters:
    """The counters of this process.

    Each rule has its own dictionary, so a flood of addresses in one rule does not drop the counters
    of another. Updates never yield, so greenlets need no lock; with threads at most one count is
    lost.
    """

    def __init__(self) -> None:
        self._rules: dict[str, OrderedDict[str, tuple[int, float]]] = {}

    def add(self, rule: str, who: str, seconds: int, amount: int) -> Count:
        """Add to a counter; create it if needed. It expires `seconds` after its creation."""
        found = self.get(rule, who)
        return self.set(
            rule, who, Count(max(found.number + amount, 0), found.seconds or float(seconds))
        )

    def get(self, rule: str, who: str) -> Count:
        """Return a counter; one that does not exist is 0 and expires in 0 seconds."""
        counts = self._rules.get(rule)
        number, until = counts.get(who, _NOTHING) if counts else _NOTHING
        left = until - monotonic()
        return Count(number, left) if left > 0 else Count(0, 0.0)

    def set(self, rule: str, who: str, count: Count) -> Count:
        """Store a count that the Redis has returned."""
        now = monotonic()
        counts = self._rules.get(rule)
        if counts is None:
            counts = self._rules[rule] = OrderedDict()
        counts[who] = (count.number, now + count.seconds)
        # The counters of a rule live equally long, so they expire in the order of their creation.
        while counts and (len(counts) > COUNTS_MAX or next(iter(counts.values()))[1] <= now):
            counts.popitem(last=False)
        return count


class RedisCounters:
    """The counters of all workers and machines, in a Redis.

    Its methods raise `RedisError` or `OSError` within a few `TIMEOUT_SECONDS`.

    Args:
        url: The URL of the Redis.
        prefix: The prefix of the keys of this installation.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_REDIS_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=None,  # `Counters` falls back to memory
        )
        self._redis = Redis(connection_pool=pool)

    def add(self, rule: str, who: str, seconds: int, amount: int) -> Count:
        """Add to a counter; create it if needed. It expires `seconds` after its creation."""
        key = self._key(rule, who)
        with self._redis.pipeline() as transaction:
            transaction.set(key, 0, ex=seconds, nx=True)
            transaction.incrby(key, amount)
            transaction.pttl(key)
            _, number, milliseconds = transaction.execute()
        return _count(number, milliseconds)

    def get(self, rule: str, who: str) -> Count:
        """Return a counter; one that does not exist is 0 and expires in 0 seconds."""
        key = self._key(rule, who)
        with self._redis.pipeline() as transaction:
            transaction.get(key)
            transaction.pttl(key)
            number, milliseconds = transaction.execute()
        return _count(int(number or 0), milliseconds)

    def _key(self, rule: str, who: str) -> str:
        return f"{self._prefix}:{rule}:{who}"


def _count(number: int, milliseconds: int) -> Count:
    return Count(max(number, 0), max(milliseconds, 0) / 1000)


class Counters:
    """Counters in a Redis, with a fallback to memory; never raises.

    Counts from the Redis are stored in memory too, so counting continues from them when the Redis
    fails. After a failure no request waits for the Redis until a thread has found it healthy.

    Args:
        shared: The Redis, or None.
    """

    def __init__(self, shared: RedisCounters | None = None) -> None:
        self._memory = MemoryCounters()
        self._shared = shared
        self._is_healthy = shared is not None

    def add(self, rule: str, who: str, seconds: int, amount: int = 1) -> Count:
        """Add to a counter and return it; create it if needed.

        Args:
            rule: The rule that the counter belongs to.
            who: The user, account or network that it belongs to.
            seconds: It expires so many seconds after its creation.
            amount: 1, or -1 to take one back.
        """
        return self._ask(
            lambda shared: self._memory.set(rule, who, shared.add(rule, who, seconds, amount))
        ) or self._memory.add(rule, who, seconds, amount)

    def get(self, rule: str, who: str) -> Count:
        """Return a counter."""
        return self._ask(lambda shared: shared.get(rule, who)) or self._memory.get(rule, who)

    def _ask(self, question: Callable[[RedisCounters], Count]) -> Count | None:
        if self._shared is None or not self._is_healthy:
            return None
        try:
            return question(self._shared)
        except (RedisError, OSError) as error:
            if self._is_healthy:  # another request may have failed at the same time
                self._is_healthy = False
                log.warning("limits are counted in memory: Redis: %s", type(error).__name__)
                threading.Thread(
                    target=self._probe, args=(self._shared,), name="counts", daemon=True
                ).start()
            return None

    def _probe(self, shared: RedisCounters) -> None:
        while not self._is_healthy:
            sleep(PROBE_SECONDS)
            try:
                shared.add("probe", "", 1, 1)  # a write: the Redis may be read-only or full
            except (RedisError, OSError):
                continue
            self._is_healthy = True
            log.warning("limits are counted in Redis again")


class Buckets:
    """A token bucket for each user of this worker. It never waits; a call takes half a microsecond.

    A bucket holds `amount` tokens and refills evenly in `seconds`. Only the time when it will be
    full is stored, and nothing for a full bucket.

    Source: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

    Args:
        amount: The size of a bucket, in tokens.
        seconds: The time in which an empty bucket refills.
    """

    def __init__(self, amount: int, seconds: float) -> None:
        self.amount = amount
        self._seconds = seconds
        self._interval = seconds / amount
        self._full_at: dict[int, float] = {}
        self._prune_at = _BUCKETS_MAX

    def take(self, user_id: int, tokens: float = 1) -> float:
        """Take tokens and return 0; if they are too few, return the seconds until they suffice.

        Args:
            user_id: Whose bucket it is.
            tokens: How many; not more than a bucket holds.
        """
        now = monotonic()
        full_at = self._full_at.get(user_id, 0.0)
        full_at = (full_at if full_at > now else now) + tokens * self._interval
        wait = full_at - now - self._seconds
        if wait > 0:
            return wait
        self._full_at[user_id] = full_at
        if len(self._full_at) > self._prune_at:
            self._prune(now)
        return 0.0

    def left(self, user_id: int) -> Count:
        """Return the tokens of a user, and the seconds until the bucket is full."""
        until_full = max(self._full_at.get(user_id, 0.0) - monotonic(), 0.0)
        return Count(int((self._seconds - until_full) / self._interval), until_full)

    def _prune(self, now: float) -> None:
        self._full_at = {who: when for who, when in self._full_at.items() if when > now}
        self._prune_at = max(_BUCKETS_MAX, 2 * len(self._full_at))
