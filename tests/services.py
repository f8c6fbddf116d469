"""PostgreSQL and Redis for tests: installed, running, or brought by a package."""

import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

from tests import processes
from tests.delivery.machines import PostgresServer, RedisServer

_USUAL_POSTGRESQL = "postgresql://postgres@127.0.0.1:5432/postgres"
_PREFIX = "beseda_tests_"  # of our databases; `_PREFIX<run>_<number>`


class Databases:
    """Databases of this process of a test run on one PostgreSQL server; nobody else's.

    While it is open it keeps a connection under the name of the run. Databases of runs without such
    a connection are left over from runs that could not tidy up, and are dropped at the start.

    Args:
        server_url: The maintenance database of the server.
    """

    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        self._run = f"{_PREFIX}{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._connection = psycopg.connect(
            server_url, autocommit=True, application_name=self._run, connect_timeout=3
        )
        self._drop_left_over()

    def create(self, encoding: LiteralString | None = None) -> str:
        """Create an empty database and return its URL; it keeps texts as the server prefers."""
        name = f"{self._run}_{next(self._numbers)}"
        processes.drop_at_end(self.server_url, name)
        options = f"TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        self._execute(f"CREATE DATABASE {{}} {options if encoding else ''}", name)
        url = make_url(self.server_url).set(database=name)
        return url.render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        name = make_url(url).database or ""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        processes.forget_database(self.server_url, name)

    def close(self) -> None:
        """Let go of the server."""
        self._connection.close()

    def _drop_left_over(self) -> None:
        found = self._connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %(prefix)s)"
            " AND left(datname, length(%(run)s)) NOT IN"
            " (SELECT application_name FROM pg_stat_activity)",
            {"prefix": _PREFIX, "run": self._run},
        ).fetchall()
        for (name,) in found:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: LiteralString, database: str) -> None:
        self._connection.execute(SQL(statement).format(Identifier(database)))


@contextmanager
def databases() -> Iterator[Databases | None]:
    """Yield databases of a PostgreSQL, or None if there is no PostgreSQL to be had."""
    with _postgresql_url() as url:
        if url is None:
            yield None
            return
        opened = Databases(url)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def _postgresql_url() -> Iterator[str | None]:
    url = os.environ.get("TEST_POSTGRESQL_URL", _USUAL_POSTGRESQL)
    with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=3):
        yield url
        return
    if not PostgresServer.programs():
        yield None
        return
    with PostgresServer() as server:
        yield server.url


@contextmanager
def redis() -> Iterator[str | None]:
    """Yield the URL of a Redis, or None if there is none to be had.

    It is one of our own unless the environment names one: tests disconnect all its clients.
    """
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    if not RedisServer.program():
        yield None
        return
    with RedisServer() as server:
        yield server.url
