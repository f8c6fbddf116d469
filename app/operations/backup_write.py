"""Writes a backup, also while the server runs."""

import io
import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from app.clock import utcnow
from app.media.folder import MediaFolder, file_names, is_media_name
from app.operations.backup_format import (
    DATABASE,
    KEY,
    MANIFEST,
    MEDIA,
    BackupError,
    FileEntry,
    Installation,
    Manifest,
    count_rows,
    digest,
    open_database,
    quoted,
    revision_of,
)
from app.operations.backup_read import opened

ROUNDS_MAX = 10

# Columns that hold the name of a file in the media store, in any table.
MEDIA_COLUMNS = ("image",)


def write_backup(source: Installation, target: Path) -> Manifest:
    """Back up an installation, also while the server runs.

    The database is copied in the state of one moment. The backup gets its name when it is complete
    and has been read back. Only its owner can read it (0600).

    Raises:
        BackupError: Nothing was written.
        OSError: Nothing was written, because the disk is full for example.
    """
    if not source.database.is_file():
        raise BackupError(f"There is no database at {source.database}.")
    if os.path.lexists(target):
        raise _there_already(target)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        draft, snapshot = Path(folder, "draft"), Path(folder, DATABASE)
        draft.touch(0o600)
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
            _fill(tar, source, snapshot)
        snapshot.unlink()  # the check needs its space
        with opened(draft, Path(folder)) as backup:
            manifest = backup.manifest
        _sync(draft)
        _put(draft, target)
    _sync(target.parent)
    return manifest


def _put(draft: Path, target: Path) -> None:
    # Unlike a rename, neither of these replaces an existing file.
    try:
        try:
            target.hardlink_to(draft)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links, as on most USB sticks
            target.touch(0o600, exist_ok=False)
            draft.replace(target)
    except FileExistsError:
        raise _there_already(target) from None


def _there_already(target: Path) -> BackupError:
    return BackupError(f"{target} exists already and is not overwritten.")


def _fill(tar: tarfile.TarFile, source: Installation, snapshot: Path) -> None:
    files: dict[str, FileEntry] = {}
    lost: set[str] | None = None
    # A picture that is replaced meanwhile is missing; the next snapshot names the new one. Names
    # are never used again, so a file in the tar need not be added twice.
    for _ in range(ROUNDS_MAX):
        _take_snapshot(source.database, snapshot)
        named = _pictures_in(snapshot) if source.pictures else set()
        found = {name for name in named if _add_picture(tar, files, source.pictures, name)}
        lost, lost_before = named - found, lost
        if not lost or lost == lost_before:
            break
    named_files = {MEDIA + name for name in named}
    entries = {
        name: entry
        for name, entry in files.items()
        if name in named_files  # others in the tar were replaced meanwhile
    }
    with snapshot.open("rb") as file:
        entries[DATABASE] = _add(tar, DATABASE, file)
    if source.key:
        entries[KEY] = _add(tar, KEY, io.BytesIO(source.key.read_bytes()))
    with closing(open_database(snapshot)) as database:
        manifest = Manifest(
            made_at=utcnow(),
            revision=revision_of(database),
            tables=count_rows(database),
            files=entries,
            missing=sorted(lost or ()),
        )
    _add(tar, MANIFEST, io.BytesIO(manifest.model_dump_json(indent=1).encode()))


def _take_snapshot(database: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    try:
        with closing(open_database(database)) as connection:
            # A single statement sees one state, and no writer has to wait for it.
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        raise BackupError(f"The database {database} cannot be read: {error}.") from error


def _pictures_in(database: Path) -> set[str]:
    with closing(open_database(database)) as connection:
        columns = [
            (table, column)
            for table, column in connection.execute(
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
                " WHERE m.type = 'table'"
            )
            if column in MEDIA_COLUMNS
        ]
        names = {
            name
            for table, column in columns
            for (name,) in connection.execute(
                f"SELECT {quoted(column)} FROM {quoted(table)} WHERE {quoted(column)} IS NOT NULL"  # noqa: S608
            )
            if is_media_name(name)
        }
        if _has_uploads(connection):
            whole = "SELECT id, small_bytes FROM uploads WHERE type IS NOT NULL"
            for upload_id, small_bytes in connection.execute(whole):
                names.update(file_names(upload_id, has_small=small_bytes > 0))
        return names


def _has_uploads(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'uploads'"
    return connection.execute(query).fetchone() is not None


def _add_picture(
    tar: tarfile.TarFile, files: dict[str, FileEntry], pictures: MediaFolder | None, name: str
) -> bool:
    if MEDIA + name in files:
        return True
    path = pictures.find(name) if pictures else None
    if path is None:
        return False
    try:
        with path.open("rb") as file:
            files[MEDIA + name] = _add(tar, MEDIA + name, file)
    except FileNotFoundError:  # its owner has just replaced it
        return False
    return True


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> FileEntry:
    entry = FileEntry(bytes=file.seek(0, os.SEEK_END), sha256=digest(file))
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = entry.bytes, 0o600, int(utcnow().timestamp())
    file.seek(0)
    tar.addfile(info, file)
    return entry


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
