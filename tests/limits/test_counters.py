"""Counting: what lives how long, how much memory it takes, and what a Redis in trouble changes."""

import threading
import time
import tracemalloc
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from app.limits import counters
from app.limits.counters import Buckets, Count, Counters, MemoryCounters, RedisCounters
from tests.conftest import unavailable
from tests.delivery.machines import RedisServer, wait_for
from tests.servers import ROOT

AT_ONCE_SECONDS = 0.05  # what an answer out of memory takes at most, on a busy machine
BACK_SECONDS = counters.PROBE_SECONDS + 2


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis of our own, which may be killed."""
    if not RedisServer.program():
        unavailable("redis-server")
    with RedisServer() as redis:
        yield redis


@pytest.fixture
def shared(redis: RedisServer) -> RedisCounters:
    with redis.client() as client:
        client.flushall()
    return RedisCounters(f"redis://127.0.0.1:{redis.port}/0", "test")


@pytest.fixture(params=["memory", "redis"])
def either(request: pytest.FixtureRequest) -> MemoryCounters | RedisCounters:
    if request.param == "memory":
        return MemoryCounters()
    return request.getfixturevalue("shared")


def timed(counting: Counters, who: str = "ann") -> tuple[int, float]:
    began = time.monotonic()
    number = counting.add("login", who, 60).number
    return number, time.monotonic() - began


def test_counts_grow_by_one_and_tell_how_long_they_live(either) -> None:
    first = either.add("login", "ann", 60, 1)
    second = either.add("login", "ann", 60, 1)

    assert (first.number, second.number) == (1, 2)
    assert 59 < second.seconds <= first.seconds <= 60
    assert either.get("login", "ann").number == 2


def test_counts_of_others_and_of_other_rules_are_others(either) -> None:
    either.add("login", "ann", 60, 1)

    assert either.get("login", "bob") == Count(0, 0.0)
    assert either.get("search", "ann") == Count(0, 0.0)


def test_what_was_counted_can_be_taken_back_and_never_below_nothing(either) -> None:
    either.add("login", "ann", 60, 1)
    either.add("login", "ann", 60, -1)
    either.add("login", "ann", 60, -1)

    assert either.get("login", "ann").number == 0


def test_count_ends_at_its_time_whatever_was_added_meanwhile(either) -> None:
    until = time.monotonic() + 1
    either.add("login", "ann", 1, 1)
    while (count := either.add("login", "ann", 1, 1)).number > 1:
        assert time.monotonic() < until + 5
        time.sleep(0.02)

    assert count.number == 1
    assert time.monotonic() >= until - 0.01


def test_nothing_stays_in_redis_for_ever(redis, shared) -> None:
    shared.add("login", "ann", 60, 1)
    shared.add("login", "bob", 60, -1)

    with redis.client() as client:
        keys = client.keys("*")
        assert len(keys) == 2
        assert all(0 < client.ttl(key) <= 60 for key in keys)


@pytest.mark.slow
def test_memory_is_bounded_however_many_addresses_there_are(monkeypatch) -> None:
    monkeypatch.setattr(counters, "COUNTS_MAX", 5000)
    memory = MemoryCounters()
    memory.add("login_account", "ann", 3600, 1)

    tracemalloc.start()
    for number in range(50_000):
        memory.add("handshakes", f"2001:db8:{number:x}::", 60, 1)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken < 5000 * 400  # 50,000 of them are 20 MB
    assert memory.get("handshakes", "2001:db8:0::").number == 0  # the oldest are gone
    assert memory.get("handshakes", f"2001:db8:{49_999:x}::").number == 1
    assert memory.get("login_account", "ann").number == 1  # and no other rule forgets


def test_counts_that_are_over_leave_memory() -> None:
    memory = MemoryCounters()
    for number in range(100):
        memory.set("login", str(number), Count(1, 0.001))
    time.sleep(0.01)

    memory.add("login", "ann", 60, 1)

    assert len(memory._rules["login"]) == 1


# A Redis in trouble


def test_without_redis_it_counts_in_memory() -> None:
    counting = Counters()

    assert [counting.add("login", "ann", 60).number for _ in range(3)] == [1, 2, 3]
    assert counting.get("login", "ann").number == 3


def test_two_processes_count_together(redis, shared) -> None:
    one, other = (
        Counters(shared),
        Counters(RedisCounters(f"redis://127.0.0.1:{redis.port}/0", "test")),
    )

    assert [each.add("login", "ann", 60).number for each in (one, other, one)] == [1, 2, 3]
    assert other.get("login", "ann").number == 3


def test_installations_that_share_a_redis_count_apart(redis, shared) -> None:
    other = RedisCounters(f"redis://127.0.0.1:{redis.port}/0", "another")
    shared.add("login", "ann", 60, 1)

    assert other.get("login", "ann").number == 0


def test_redis_that_is_killed_is_missed_by_nobody_and_taken_back(redis, shared) -> None:
    counting = Counters(shared)
    for _ in range(3):
        counting.add("login", "ann", 60)
    redis.kill()
    try:
        number, seconds = timed(counting)

        assert number == 4  # it goes on from where it was
        assert seconds < AT_ONCE_SECONDS
        assert timed(counting)[0] == 5
        assert counting.get("login", "ann").number == 5
    finally:
        redis.start()
    wait_for(lambda: counting._is_healthy, BACK_SECONDS, "it counts in Redis again")
    assert timed(counting)[0] == 1  # the new Redis is empty
    assert shared.get("login", "ann").number == 1


def test_redis_that_hangs_is_waited_for_once_and_shortly(redis, shared) -> None:
    counting = Counters(shared)
    counting.add("login", "ann", 60)
    redis.pause()
    try:
        number, first = timed(counting)
        _, second = timed(counting)
    finally:
        redis.go_on()

    assert number == 2
    assert first < 3 * counters.TIMEOUT_SECONDS + AT_ONCE_SECONDS
    assert second < AT_ONCE_SECONDS
    wait_for(lambda: counting._is_healthy, BACK_SECONDS, "it counts in Redis again")


@pytest.mark.alone
def test_all_who_wait_for_a_redis_that_hangs_are_served(redis, shared) -> None:
    counting = Counters(shared)
    waited: list[float] = []
    start = threading.Barrier(20)

    def count(number: int) -> None:
        start.wait()
        waited.append(timed(counting, str(number))[1])

    redis.pause()
    try:
        threads = [threading.Thread(target=count, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    finally:
        redis.go_on()

    assert len(waited) == 20  # none of them met an error
    assert max(waited) < 0.6
    wait_for(lambda: counting._is_healthy, BACK_SECONDS, "it counts in Redis again")


def test_redis_that_stores_nothing_is_as_good_as_none(redis, shared) -> None:
    counting = Counters(shared)
    with redis.client() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            assert [timed(counting)[0] for _ in range(3)] == [1, 2, 3]
            time.sleep(counters.PROBE_SECONDS + 0.2)
            assert not counting._is_healthy  # though it answers
        finally:
            client.config_set("min-replicas-to-write", 0)
    wait_for(lambda: counting._is_healthy, BACK_SECONDS, "it counts in Redis again")


def test_redis_that_is_not_there_at_the_start_is_no_reason_to_wait() -> None:
    counting = Counters(RedisCounters("redis://127.0.0.1:1/0", "test"))

    number, seconds = timed(counting)

    assert number == 1
    assert seconds < AT_ONCE_SECONDS


def test_limits_leave_the_redis_client_at_our_version() -> None:
    # Its extra for Redis would bring one older than 8.
    pinned = [
        line.partition("==")[2].split()[0]
        for name in ("requirements.in", "requirements.txt")
        for line in (ROOT / name).read_text().splitlines()
        if line.startswith(("redis==", "redis["))
    ]

    assert pinned == [version("redis")] * 2
    assert int(pinned[0].partition(".")[0]) >= 8


# Buckets of tokens


def test_bucket_is_emptied_at_once_and_fills_evenly() -> None:
    bucket = Buckets(10, 1.0)

    assert [bucket.take(1) for _ in range(10)] == [0.0] * 10
    wait = bucket.take(1)
    assert 0 < wait <= 0.1
    assert bucket.left(1).number == 0
    time.sleep(wait)
    assert bucket.take(1) == 0
    assert bucket.take(1) > 0


def test_refused_token_makes_the_wait_no_longer() -> None:
    bucket = Buckets(1, 1.0)
    bucket.take(1)

    waits = [bucket.take(1) for _ in range(1000)]

    assert waits == sorted(waits, reverse=True)
    assert waits[0] <= 1.0


def test_bucket_of_another_user_is_full() -> None:
    bucket = Buckets(2, 60)
    bucket.take(1)
    bucket.take(1)

    assert bucket.take(1) > 0
    assert bucket.take(2) == 0
    assert bucket.left(2).number == 1
    assert bucket.left(3) == Count(2, 0.0)


def test_full_buckets_are_not_kept(monkeypatch) -> None:
    monkeypatch.setattr(counters, "_BUCKETS_MAX", 100)
    bucket = Buckets(1000, 0.001)

    for user_id in range(10_000):
        bucket.take(user_id)

    assert len(bucket._full_at) < 1000
