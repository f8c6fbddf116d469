"""Restores an installation from a backup."""

import os
import re
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from app.database import revisions
from app.media.folder import MediaFolder
from app.operations.backup_format import (
    KEY,
    MEDIA,
    BackupError,
    Installation,
    count_rows,
    open_database,
)
from app.operations.backup_read import Backup

# Tables that have rows in a new installation too.
_NOBODYS = ("installation", "message_words", "search_days", "search_state", "setup")


def restore(backup: Backup, target: Installation, *, replace: bool) -> None:
    """Replace an installation by the contents of a backup.

    It writes the pictures, whose names are new; then the database, in one transaction; then the
    key; and deletes the old pictures last. The installation is usable if it is interrupted.

    Args:
        backup: An open backup.
        target: An installation whose server is stopped.
        replace: Whether to replace existing data.

    Raises:
        BackupError: Nothing was changed.
    """
    manifest = backup.manifest
    if manifest.revision not in revisions.known():
        raise BackupError(
            f"The backup is of a later release, and this one does not know its tables"
            f" ({manifest.revision}). Restore it with that release."
        )
    _check_schema(backup.database, manifest.revision)
    if manifest.pictures and target.pictures is None:
        raise BackupError(
            f"The backup has {len(manifest.pictures)} files, and MEDIA_URL keeps them elsewhere."
            " Restore without MEDIA_URL, then move them as docs/data.md says."
        )
    is_new = not target.database.exists()
    try:
        with (
            closing(open_database(backup.database)) as source,
            closing(open_database(target.database, mode="rwc")) as database,
        ):
            if not replace and (there := _contents(database, target.pictures)):
                raise BackupError(
                    f"This installation is not empty: it has {there}. To replace all of it by the"
                    " backup, use --replace."
                )
            _check_alone(database)
            for name in manifest.pictures:
                if target.pictures:
                    target.pictures.put(name, backup.read(MEDIA + name))
            source.backup(database)
            _begin_epoch(database)
            _empty_search_index(database)
    except sqlite3.Error as error:
        raise BackupError(
            f"The database {target.database} cannot be replaced: {error}. If it is damaged, move it"
            " and its -wal and -shm away."
        ) from error
    if is_new:
        target.database.chmod(0o600)
    if target.key and manifest.has_key:
        _put_key(target.key, backup.read(KEY))
    if target.pictures:
        for name in set(target.pictures.names()) - set(manifest.pictures):
            target.pictures.delete(name)


def _begin_epoch(database: sqlite3.Connection) -> None:
    # A new epoch makes clients load everything again. Their cursors may be newer than the backup,
    # and the same event ids will be used again. A backup of an earlier release has no epoch.
    query = "SELECT 1 FROM sqlite_master WHERE name = 'installation'"
    if database.execute(query).fetchone() is not None:
        epoch = secrets.token_hex(8)
        database.execute("INSERT OR REPLACE INTO installation (id, epoch) VALUES (1, ?)", (epoch,))


def _empty_search_index(database: sqlite3.Connection) -> None:
    # The server builds it again.
    query = "SELECT 1 FROM sqlite_master WHERE name = 'search_state'"
    if database.execute(query).fetchone() is not None:
        database.execute("DELETE FROM message_words")
        if database.execute(query.replace("state", "days")).fetchone() is not None:
            database.execute("DELETE FROM search_days")
        database.execute("UPDATE search_state SET indexed_to = 0")


def _check_schema(database: Path, revision: str) -> None:
    # Refuse any other object: a trigger, for example, would run in the restored installation.
    with closing(open_database(database)) as connection:
        foreign = _schema_of(connection) ^ _schema_of_release(revision)
    if foreign:
        kind, name = min(foreign)[:2]
        raise BackupError(
            f"The backup has tables that Beseda does not make: look at {kind} {name!r}."
        )


def _schema_of(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    # Tables are compared by columns: their SQL depends on the migrations that made them.
    found = set()
    for kind, name, sql in connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    ).fetchall():
        described = sql
        if kind == "table":
            columns = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,))
            described = sorted(each[1:] for each in columns)
        found.add((kind, name, re.sub(r'[\s"`]+', "", str(described)).lower()))
    return found


def _schema_of_release(revision: str) -> set[tuple[str, str, str]]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        revisions.upgrade(connection, revision)
        driver: Any = connection.connection.driver_connection
        found = _schema_of(driver)
    engine.dispose()
    return found


def _contents(database: sqlite3.Connection, pictures: MediaFolder | None) -> str:
    there = [
        f"{count} {table.replace('_', ' ')}"
        for table, count in count_rows(database).items()
        if count and not table.startswith(_NOBODYS)
    ]
    if pictures and (count := sum(1 for _ in pictures.names())):
        there.append(f"{count} files")
    return ", ".join(there)


def _check_alone(database: sqlite3.Connection) -> None:
    # SQLite leaves the WAL mode only if nobody else has the database open. A running server keeps
    # connections open, and its next connection sets that mode again.
    try:
        database.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_BUSY":
            raise
        raise BackupError(
            "The database is in use. First stop the server and all other programs that use it."
        ) from None


def _put_key(path: Path, key: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.restored")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
