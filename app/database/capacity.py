"""Checks that PostgreSQL accepts as many connections as the workers may open."""

import logging

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.database.pool import pool_of
from app.database.transactions import reading

log = logging.getLogger(__name__)

BESIDE_POOL = 2  # connections of a worker for LISTEN and NOTIFY, if there is no Redis

# The lowest of the limits of the server, of the database and of the role; -1 means no limit.
_LIMIT = text(
    "SELECT least("
    " current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int,"
    " (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),"
    " (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user))"
)


def warn_of_too_many_connections(engine: Engine, workers: int) -> None:
    """Log a warning if the workers of this machine may open more connections than that.

    Args:
        engine: The database; nothing is checked for SQLite.
        workers: The number of worker processes of this machine.
    """
    if engine.dialect.name == "sqlite":
        return
    size = pool_of(engine).size
    needed = workers * (size + BESIDE_POOL)
    try:
        with reading(engine) as connection:
            limit = connection.scalar(_LIMIT)
    except SQLAlchemyError:
        return  # /readyz tells whether the database is away
    if needed > limit:
        log.warning(
            "%d workers may open %d connections (WEB_CONCURRENCY x (DATABASE_POOL_SIZE=%d + %d)),"
            " and PostgreSQL takes %d for all machines: lower DATABASE_POOL_SIZE",
            *(workers, needed, size, BESIDE_POOL, limit),
        )
