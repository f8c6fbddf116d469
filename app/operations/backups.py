"""Backups of an installation on SQLite: one file with all that it keeps, checked when it is
written and again before it is restored.

The file is a tar: the database, the pictures that it names, the signing key if the
installation keeps its own, and a manifest with the size and the SHA-256 of each.
"""

import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from app.clock import utcnow
from app.database import revisions
from app.media.store import FolderStore, is_name

_DATABASE = "beseda.db"
_KEY = "jwt_secret_key"
_MANIFEST = "manifest.json"
_MEDIA = "media/"

_LOCK_SECONDS = 30.0  # how long SQLite waits for a writer to let us look
_ROUNDS_MAX = 10
_PIECE_BYTES = 1024 * 1024
_MANIFEST_BYTES_MAX = 256 * 1024 * 1024

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BackupError(Exception):
    """It cannot be done; the text says why, and what to do."""


class FileEntry(BaseModel):
    """What is known of a file in a backup."""

    bytes: int
    sha256: _Sha256


class Manifest(BaseModel):
    """What is in a backup.

    Attributes:
        revision: Of the tables.
        tables: How many rows each has.
        files: All others in the backup, by their names there.
        missing: Pictures that the database names and that were nowhere to be found.
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
        return [name.removeprefix(_MEDIA) for name in self.files if name.startswith(_MEDIA)]

    @property
    def has_key(self) -> bool:
        """Whether the signing key is in it."""
        return _KEY in self.files


@dataclass(frozen=True)
class Installation:
    """What is backed up, or restored to.

    Attributes:
        database: The file of SQLite.
        pictures: None if they are kept elsewhere than in a folder.
        key: The file with the signing key; None if the key is given by the environment.
    """

    database: Path
    pictures: FolderStore | None
    key: Path | None


# Writing


def write_backup(source: Installation, target: Path) -> Manifest:
    """Back up an installation, also while it is served from.

    The database is taken as it is at one moment. The file appears under its name when it is
    whole and has been read back, for its owner alone (0600).

    Raises:
        BackupError: Nothing was written.
        OSError: Nothing was written; the disk is full, for example.
    """
    if not source.database.is_file():
        raise BackupError(f"There is no database at {source.database}.")
    if os.path.lexists(target):
        raise _there_already(target)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        draft, snapshot = Path(folder, "draft"), Path(folder, _DATABASE)
        draft.touch(0o600)
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
            _fill(tar, source, snapshot)
        snapshot.unlink()  # the check needs its room
        with opened(draft, Path(folder)) as backup:
            manifest = backup.manifest
        _sync(draft)
        try:
            target.hardlink_to(draft)  # which replaces nothing, unlike a rename
        except FileExistsError:
            raise _there_already(target) from None
    _sync(target.parent)
    return manifest


def _there_already(target: Path) -> BackupError:
    return BackupError(f"{target} is there already, and is not overwritten.")


def _fill(tar: tarfile.TarFile, source: Installation, snapshot: Path) -> None:
    files: dict[str, FileEntry] = {}
    lost: set[str] | None = None
    # A picture that is replaced while we work is missed. Its successor is in the next snapshot,
    # and as names are never used again, what was put in already need not be put in once more.
    for _ in range(_ROUNDS_MAX):
        _take_snapshot(source.database, snapshot)
        named = _pictures_in(snapshot) if source.pictures else set()
        found = {name for name in named if _add_picture(tar, files, source.pictures, name)}
        lost, lost_before = named - found, lost
        if not lost or lost == lost_before:
            break
    named_files = {_MEDIA + name for name in named}
    entries = {
        name: entry
        for name, entry in files.items()
        if name in named_files  # what else is in the tar was replaced meanwhile
    }
    with snapshot.open("rb") as file:
        entries[_DATABASE] = _add(tar, _DATABASE, file)
    if source.key:
        entries[_KEY] = _add(tar, _KEY, io.BytesIO(source.key.read_bytes()))
    with closing(_open_database(snapshot)) as database:
        manifest = Manifest(
            made_at=utcnow(),
            revision=_revision_of(database),
            tables=_counts(database),
            files=entries,
            missing=sorted(lost or ()),
        )
    _add(tar, _MANIFEST, io.BytesIO(manifest.model_dump_json(indent=1).encode()))


def _take_snapshot(database: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    try:
        with closing(_open_database(database)) as connection:
            # One statement sees one state, whoever writes meanwhile, and nobody has to wait for it.
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        raise BackupError(f"The database {database} cannot be read: {error}.") from error


def _pictures_in(database: Path) -> set[str]:
    with closing(_open_database(database)) as connection:
        try:
            rows = connection.execute("SELECT image FROM profiles WHERE image IS NOT NULL")
        except sqlite3.OperationalError:
            raise BackupError("The database is not migrated: it has no profiles.") from None
        return {name for (name,) in rows if is_name(name)}


def _add_picture(
    tar: tarfile.TarFile, files: dict[str, FileEntry], pictures: FolderStore | None, name: str
) -> bool:
    if _MEDIA + name in files:
        return True
    path = pictures.find(name) if pictures else None
    try:
        data = path.read_bytes() if path else None
    except FileNotFoundError:  # its owner has just replaced it
        data = None
    if data is None:
        return False
    files[_MEDIA + name] = _add(tar, _MEDIA + name, io.BytesIO(data))
    return True


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> FileEntry:
    entry = FileEntry(bytes=file.seek(0, os.SEEK_END), sha256=_digest(file))
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = entry.bytes, 0o600, int(utcnow().timestamp())
    file.seek(0)
    tar.addfile(info, file)
    return entry


# Reading


@dataclass(frozen=True)
class Backup:
    """A backup that was checked.

    Attributes:
        database: A copy of the database in it, for as long as the backup is open.
    """

    manifest: Manifest
    database: Path
    _tar: tarfile.TarFile

    def read(self, name: str) -> bytes:
        """Return a file of the manifest."""
        return _read(self._tar, name, self.manifest.files[name].bytes)


@contextmanager
def opened(path: Path, room: Path) -> Iterator[Backup]:
    """Open a backup and check all of it: every file, every page, every count.

    Args:
        path: The file.
        room: A folder that has room for a copy of the database.

    Raises:
        BackupError: It is damaged, or none.
    """
    with TemporaryDirectory(prefix=".beseda-", dir=room) as folder:
        try:
            with tarfile.open(path, "r:") as tar:
                yield _checked(tar, Path(folder, _DATABASE))
        except tarfile.TarError as error:
            raise BackupError(f"{path} is no backup, or not whole: {error}.") from error


def _checked(tar: tarfile.TarFile, copy: Path) -> Backup:
    try:
        manifest = Manifest.model_validate_json(_read(tar, _MANIFEST, _MANIFEST_BYTES_MAX))
    except ValidationError:
        raise BackupError("The manifest of the backup cannot be understood.") from None
    if _DATABASE not in manifest.files:
        raise BackupError("There is no database in the backup.")
    for name, entry in manifest.files.items():
        if name not in (_DATABASE, _KEY) and not is_name(name.removeprefix(_MEDIA)):
            raise BackupError(f"The backup has a file that is none of ours: {name!r}.")
        with _member(tar, name) as file:
            if _digest(file) != entry.sha256:
                raise BackupError(f"The backup is damaged: {name} is not what was written.")
    with _member(tar, _DATABASE) as file, copy.open("wb") as out:
        shutil.copyfileobj(file, out, _PIECE_BYTES)
    _check_database(copy, manifest)
    return Backup(manifest, copy, tar)


def _check_database(copy: Path, manifest: Manifest) -> None:
    try:
        with closing(_open_database(copy)) as database:
            found = [row[0] for row in database.execute("PRAGMA integrity_check")]
            strays = database.execute("PRAGMA foreign_key_check").fetchall()
            counts, revision = _counts(database), _revision_of(database)
    except sqlite3.Error as error:
        raise BackupError(f"The database in the backup is damaged: {error}.") from error
    if found != ["ok"]:
        raise BackupError(f"The database in the backup is damaged: {found[0]}.")
    if strays:
        raise BackupError(f"The database in the backup has rows that point nowhere: {strays[0]}.")
    if counts != manifest.tables or revision != manifest.revision:
        raise BackupError("The database in the backup is not the one that its manifest describes.")


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise BackupError(f"This is no backup, or not whole: there is no {name} in it.")
    return file


def _read(tar: tarfile.TarFile, name: str, most: int) -> bytes:
    with _member(tar, name) as file:
        return file.read(most)


# Restoring


def restore(backup: Backup, target: Installation, *, replace: bool) -> None:
    """Put what is in a backup in the place of an installation.

    First the pictures, whose names are new; then the database, in one transaction; then the
    key; then what was there before goes. Wherever it is interrupted, what is there is whole.

    Args:
        backup: A checked one.
        target: An installation that nobody serves from.
        replace: Whether all that is there may go.

    Raises:
        BackupError: Nothing was changed.
    """
    manifest = backup.manifest
    if manifest.revision not in revisions.known():
        raise BackupError(
            f"The backup is of a later release than this one: nothing is known of its tables"
            f" ({manifest.revision}). Restore it with that release."
        )
    if manifest.pictures and target.pictures is None:
        raise BackupError(
            f"The backup has {len(manifest.pictures)} pictures, and MEDIA_URL keeps them elsewhere."
            " Restore without MEDIA_URL, then move them as docs/data.md says."
        )
    is_new = not target.database.exists()
    try:
        with (
            closing(_open_database(backup.database)) as source,
            closing(_open_database(target.database, mode="rwc")) as database,
        ):
            if not replace and (there := _contents(database, target.pictures)):
                raise BackupError(
                    f"This installation is not empty: it has {there}. To replace all of it by what"
                    " is in the backup, say --replace."
                )
            _check_alone(database)
            for name in manifest.pictures:
                if target.pictures:
                    target.pictures.put(name, backup.read(_MEDIA + name))
            source.backup(database)
    except sqlite3.Error as error:
        raise BackupError(
            f"The database {target.database} cannot be replaced: {error}. If it is damaged, move it"
            " and its -wal and -shm away."
        ) from error
    if is_new:
        target.database.chmod(0o600)
    if target.key and manifest.has_key:
        _put_key(target.key, backup.read(_KEY))
    if target.pictures:
        for name in set(target.pictures.names()) - set(manifest.pictures):
            target.pictures.delete(name)


def _contents(database: sqlite3.Connection, pictures: FolderStore | None) -> str:
    there = [
        f"{count} {table.replace('_', ' ')}" for table, count in _counts(database).items() if count
    ]
    if pictures and (count := sum(1 for _ in pictures.names())):
        there.append(f"{count} pictures")
    return ", ".join(there)


def _check_alone(database: sqlite3.Connection) -> None:
    # A database leaves the WAL mode only for somebody who is alone with it. Whoever serves from
    # it keeps connections open, and puts it back into that mode with the next one.
    try:
        database.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_BUSY":
            raise
        raise BackupError(
            "The database is in use. Stop the server, and whatever else has it open, first."
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


# SQLite and files


def _open_database(path: Path, mode: str = "rw") -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_LOCK_SECONDS if mode == "rw" else 1.0,
        isolation_level=None,
    )


def _counts(database: sqlite3.Connection) -> dict[str, int]:
    tables = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        " AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name <> 'alembic_version' ORDER BY name"
    ).fetchall()
    return {
        table: database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608
        for (table,) in tables
    }


def _revision_of(database: sqlite3.Connection) -> str:
    try:
        rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError:
        rows = []
    if len(rows) != 1:
        raise BackupError("The database is not migrated: run ./beseda db upgrade.")
    return str(rows[0][0])


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
