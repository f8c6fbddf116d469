"""Removes the rest of deleted rows from SQLite's files.

PostgreSQL has its own VACUUM and backups, which its operator cares for.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine

from app import threads
from app.database.transactions import current_engine, sqlite_turn

# Larger files are not rewritten: 32 MiB take half a second, and no message can be stored meanwhile.
REWRITTEN_BYTES = 32 * 1024 * 1024

_BUSY_SECONDS = 1.0  # how long to wait for another process's transaction


def purge_deleted_pages(engine: Engine | None = None) -> bool:
    """Remove deleted rows from SQLite's files; return whether that succeeded.

    `secure_delete` overwrites deleted rows, but when SQLite splits a page, a copy of a row can stay
    in the free part of the old page: one name in several hundred was found there. VACUUM rewrites
    the file, unless it is large. The write-ahead log has earlier versions of pages until it is
    truncated.
    """
    engine = engine or current_engine()
    if engine.dialect.name != "sqlite" or engine.url.database is None:
        return True
    with sqlite_turn(engine):  # others can read meanwhile, but not write
        return threads.run("files", _purge, Path(engine.url.database))


def _purge(path: Path) -> bool:
    # A connection of its own, because this may run in another thread.
    with closing(sqlite3.connect(path, _BUSY_SECONDS, isolation_level=None)) as connection:
        if path.stat().st_size <= REWRITTEN_BYTES:
            connection.execute("VACUUM")
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy
