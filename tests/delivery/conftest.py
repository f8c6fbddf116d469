"""A PostgreSQL and a Redis that tests may kill."""

from collections.abc import Iterator

import pytest

from tests.conftest import unavailable
from tests.delivery import machines
from tests.delivery.machines import PostgresServer, RedisServer

machines.patience = 5  # this machine may do more than this test


@pytest.fixture(scope="package")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own."""
    if not PostgresServer.programs():
        unavailable("initdb of PostgreSQL")
    with PostgresServer() as postgres:
        yield postgres


@pytest.fixture(scope="package")
def redis() -> Iterator[RedisServer]:
    """A Redis of our own."""
    if not RedisServer.program():
        unavailable("redis-server")
    with RedisServer() as redis:
        yield redis
