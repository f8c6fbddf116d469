"""Counts how often something was done, in bounded memory or together in a Redis.

Knows no rule and no request: who and what are texts here, and time is monotonic.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from redis import BlockingConnectionPool, Redis, RedisError

log = logging.getLogger(__name__)

COUNTS_MAX = 50_000  # of one rule in memory, some 15 MB; beyond it the oldest are forgotten
TIMEOUT_SECONDS = 0.1  # for anything that a Redis should answer at once; a request waits for it
LOOK_SECONDS = 1.0  # between two looks whether the Redis is back
_REDIS_CONNECTIONS = 8
_NOTHING = (0, 0.0)
_BUCKETS_MAX = 10_000  # kept before those that are full again are removed


@dataclass(frozen=True, slots=True)
class Count:
    """How often it was, and in how many seconds that is forgotten."""

    number: int
    seconds: float


class MemoryCounters:
    """Counts of this process.

    Each rule has a shelf of its own: whoever floods one with addresses makes no other
    rule forget. Touched without a wait in between, so greenlets need no lock; a thread
    that comes between loses one count at most.
    """

    def __init__(self) -> None:
        self._shelves: dict[str, OrderedDict[str, tuple[int, float]]] = {}

    def add(self, rule: str, who: str, seconds: int, amount: int) -> Count:
        """Add to a count, or begin one that lives for so many seconds."""
        found = self.get(rule, who)
        return self.set(
            rule, who, Count(max(found.number + amount, 0), found.seconds or float(seconds))
        )

    def get(self, rule: str, who: str) -> Count:
        """Return a count; one that there is not has no seconds left either."""
        shelf = self._shelves.get(rule)
        number, until = shelf.get(who, _NOTHING) if shelf else _NOTHING
        left = until - monotonic()
        return Count(number, left) if left > 0 else Count(0, 0.0)

    def set(self, rule: str, who: str, count: Count) -> Count:
        """Note a count that was made elsewhere."""
        now = monotonic()
        shelf = self._shelves.get(rule)
        if shelf is None:
            shelf = self._shelves[rule] = OrderedDict()
        shelf[who] = (count.number, now + count.seconds)
        # Counts of a rule live equally long, so they end in the order in which they began.
        while shelf and (len(shelf) > COUNTS_MAX or next(iter(shelf.values()))[1] <= now):
            shelf.popitem(last=False)
        return count


class RedisCounters:
    """Counts of all workers and machines. Whatever is wrong with the Redis is raised, soon.

    Args:
        url: Where it is.
        prefix: What keys of this installation begin with.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_REDIS_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=None,  # there is the memory to fall back on
        )
        self._redis = Redis(connection_pool=pool)

    def add(self, rule: str, who: str, seconds: int, amount: int) -> Count:
        """Add to a count, or begin one that lives for so many seconds."""
        key = self._key(rule, who)
        with self._redis.pipeline() as transaction:
            transaction.set(key, 0, ex=seconds, nx=True)
            transaction.incrby(key, amount)
            transaction.pttl(key)
            _, number, milliseconds = transaction.execute()
        return _count(number, milliseconds)

    def get(self, rule: str, who: str) -> Count:
        """Return a count; one that there is not has no seconds left either."""
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
    """Counts in a Redis while there is one, and in memory otherwise: it never fails.

    What the Redis says is noted in memory as well, so that counting goes on from there when
    it goes away. From then on nobody waits for it, until a thread has found it well again.

    Args:
        shared: The Redis, if there is one.
    """

    def __init__(self, shared: RedisCounters | None = None) -> None:
        self._memory = MemoryCounters()
        self._shared = shared
        self._is_well = shared is not None

    def add(self, rule: str, who: str, seconds: int, amount: int = 1) -> Count:
        """Add to a count, or begin one, and return it.

        Args:
            rule: What is counted.
            who: Whose it is.
            seconds: How long it lives, from its beginning.
            amount: 1, or -1 to take one back.
        """
        return self._ask(
            lambda shared: self._memory.set(rule, who, shared.add(rule, who, seconds, amount))
        ) or self._memory.add(rule, who, seconds, amount)

    def get(self, rule: str, who: str) -> Count:
        """Return a count as it stands."""
        return self._ask(lambda shared: shared.get(rule, who)) or self._memory.get(rule, who)

    def _ask(self, question: Callable[[RedisCounters], Count]) -> Count | None:
        if self._shared is None or not self._is_well:
            return None
        try:
            return question(self._shared)
        except (RedisError, OSError) as error:
            if self._is_well:  # others were waiting with us
                self._is_well = False
                log.warning("limits are counted in memory: Redis: %s", type(error).__name__)
                threading.Thread(
                    target=self._wait_for, args=(self._shared,), name="counts", daemon=True
                ).start()
            return None

    def _wait_for(self, shared: RedisCounters) -> None:
        while not self._is_well:
            sleep(LOOK_SECONDS)
            try:
                shared.add("well", "", 1, 1)  # one that answers may still be read-only, or full
            except (RedisError, OSError):
                continue
            self._is_well = True
            log.warning("limits are counted in Redis again")


class Buckets:
    """A bucket of tokens for each user of this worker: costs no wait and half a microsecond.

    A bucket holds `amount` tokens, and fills evenly in so many seconds. Kept of it is only
    when it will be full again; nothing, once it is.

    Source: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

    Args:
        amount: How many tokens.
        seconds: In what time.
    """

    def __init__(self, amount: int, seconds: float) -> None:
        self.amount = amount
        self._seconds = seconds
        self._interval = seconds / amount
        self._full_at: dict[int, float] = {}
        self._sweep_at = _BUCKETS_MAX

    def take(self, user_id: int) -> float:
        """Take a token, and return 0; or return the seconds until there is one."""
        now = monotonic()
        full_at = self._full_at.get(user_id, 0.0)
        full_at = (full_at if full_at > now else now) + self._interval
        wait = full_at - now - self._seconds
        if wait > 0:
            return wait
        self._full_at[user_id] = full_at
        if len(self._full_at) > self._sweep_at:
            self._reconcile(now)
        return 0.0

    def left(self, user_id: int) -> Count:
        """Return how many tokens a user has, and in how many seconds it will be all."""
        until_full = max(self._full_at.get(user_id, 0.0) - monotonic(), 0.0)
        return Count(int((self._seconds - until_full) / self._interval), until_full)

    def _reconcile(self, now: float) -> None:
        self._full_at = {who: when for who, when in self._full_at.items() if when > now}
        self._sweep_at = max(_BUCKETS_MAX, 2 * len(self._full_at))
