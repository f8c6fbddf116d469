"""The format of a backup: one tar with all data of an installation on SQLite.

It contains the database, the files that it names, the signing key (if it is a file of the
installation), and a manifest with the size and the SHA-256 of each.
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, Field

from app.media.folder import MediaFolder

DATABASE = "beseda.db"
KEY = "jwt_secret_key"
MANIFEST = "manifest.json"
MEDIA = "media/"

_LOCK_SECONDS = 30.0  # how long SQLite waits for a writer

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BackupError(Exception):
    """Nothing was changed; the text says why, and what to do."""


class FileEntry(BaseModel):
    """The size and the digest of a file in a backup."""

    bytes: int
    sha256: _Sha256


class Manifest(BaseModel):
    """The contents of a backup.

    Attributes:
        revision: The revision of the tables.
        tables: The number of rows of each table.
        files: All other files of the backup, by name.
        missing: Files that the database names but the media store does not have.
    """

    format: Literal[1] = 1
    made_at: datetime
    revision: str
    tables: dict[str, int]
    files: dict[str, FileEntry]
    missing: list[str] = []

    @property
    def pictures(self) -> list[str]:
        """The names of the pictures in it."""
        return [name.removeprefix(MEDIA) for name in self.files if name.startswith(MEDIA)]

    @property
    def has_key(self) -> bool:
        """Whether the signing key is in it."""
        return KEY in self.files


@dataclass(frozen=True)
class Installation:
    """The files of an installation.

    Attributes:
        database: The file of SQLite.
        pictures: The folder of the pictures; None if they are in a bucket.
        key: The file with the signing key; None if `JWT_SECRET_KEY` is set.
    """

    database: Path
    pictures: MediaFolder | None
    key: Path | None


def open_database(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """Open a file of SQLite in autocommit mode.

    Args:
        path: The file.
        mode: `rw`, or `rwc` to create it if it is not there.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_LOCK_SECONDS if mode == "rw" else 1.0,
        isolation_level=None,
    )


def count_rows(database: sqlite3.Connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    tables = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        " AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name <> 'alembic_version' ORDER BY name"
    ).fetchall()
    return {
        table: database.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]  # noqa: S608
        for (table,) in tables
    }


def quoted(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def revision_of(database: sqlite3.Connection) -> str:
    """Return the revision of a database's tables.

    Raises:
        BackupError: The database was never migrated.
    """
    try:
        rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError:
        rows = []
    if len(rows) != 1:
        raise BackupError("The database is not migrated: run ./beseda db upgrade.")
    return str(rows[0][0])


def digest(file: IO[bytes]) -> str:
    """Return the SHA-256 of a file, read from its beginning."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
