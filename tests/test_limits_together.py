"""Two workers that count in one Redis, and what becomes of them when it is in trouble."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import unavailable
from tests.delivery.machines import RedisServer
from tests.factories import new_name
from tests.servers import Server

TOKEN = "/accounts/api/token/"
AMOUNT = 10
WORKERS = 2
AT_ONCE_SECONDS = 2.0  # an answer with a hash in it, on a busy machine; a Redis library waits 5


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis of our own."""
    if not RedisServer.program():
        unavailable("redis-server")
    with RedisServer() as redis:
        yield redis


@pytest.fixture(scope="module")
def server(
    postgresql_url: str, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with two workers."""
    settings = {
        "DATABASE_URL": postgresql_url,
        "REDIS_URL": redis.url,
        "WEB_CONCURRENCY": str(WORKERS),
        "RATELIMIT_ENABLED": "true",
        "RATELIMIT_LOGIN": f"{AMOUNT}/hour",
        "PROXY_HOPS": "1",
    }
    with Server(tmp_path_factory.mktemp("together"), settings) as server:
        yield server


def crowd(server: Server, address: str, people: int = 4 * AMOUNT) -> tuple[list[int], float]:
    """Let many log in at once from one address.

    Returns:
        The statuses of their answers, ascending, and how long the longest took.
    """

    def log_in(_: int) -> tuple[int, float]:
        began = time.monotonic()
        # A connection each, so that any worker may take it.
        status = httpx.post(
            server.url + TOKEN,
            json={"username": new_name(), "password": "wrong"},
            headers={"X-Forwarded-For": address},
            timeout=30,
            verify=False,
        ).status_code
        return status, time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(log_in, range(people)))
    return sorted(status for status, _ in answers), max(seconds for _, seconds in answers)


def counted_together(statuses: list[int]) -> bool:
    return statuses.count(401) == AMOUNT and set(statuses) == {401, 429}


def counted_apart(statuses: list[int]) -> bool:
    return AMOUNT <= statuses.count(401) <= WORKERS * AMOUNT and set(statuses) == {401, 429}


def test_two_workers_count_together(server) -> None:
    statuses, _ = crowd(server, "192.0.2.1")

    assert counted_together(statuses), statuses


@pytest.mark.alone
def test_redis_that_is_killed_costs_nobody_an_answer_and_comes_back(server, redis) -> None:
    redis.kill()
    try:
        statuses, longest = crowd(server, "192.0.2.2")
    finally:
        redis.start()

    assert counted_apart(statuses), statuses
    assert longest < AT_ONCE_SECONDS
    deadline = time.monotonic() + 15
    for host in range(1, 255):
        statuses, _ = crowd(server, f"198.51.100.{host}")
        if counted_together(statuses):
            break
        assert time.monotonic() < deadline, statuses
        time.sleep(0.3)


@pytest.mark.alone
def test_redis_that_hangs_costs_nobody_an_answer(server, redis) -> None:
    redis.pause()
    try:
        statuses, longest = crowd(server, "192.0.2.3")
        _, later = crowd(server, "192.0.2.4", people=4)
    finally:
        redis.go_on()

    assert counted_apart(statuses), statuses
    assert longest < AT_ONCE_SECONDS
    assert later < AT_ONCE_SECONDS
