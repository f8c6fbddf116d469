"""Opens a backup and checks all of it: every file, every page, every count."""

import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from pydantic import ValidationError

from app.media.folder import is_media_name
from app.operations.backup_format import (
    DATABASE,
    KEY,
    MANIFEST,
    MEDIA,
    BackupError,
    Manifest,
    count_rows,
    digest,
    open_database,
    revision_of,
)

_PIECE_BYTES = 1024 * 1024
_MANIFEST_BYTES_MAX = 256 * 1024 * 1024
_FILE_BYTES_MAX = 256 * 1024 * 1024  # of a picture or the key, which are read into memory


@dataclass(frozen=True)
class Backup:
    """A backup that was checked.

    Attributes:
        database: A copy of its database; it exists while the backup is open.
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
        room: A folder with enough space for a copy of the database.

    Raises:
        BackupError: It is damaged, or not a backup.
    """
    with TemporaryDirectory(prefix=".beseda-", dir=room) as folder:
        try:
            with tarfile.open(path, "r:") as tar:
                yield _checked(tar, Path(folder, DATABASE))
        except (tarfile.TarError, EOFError, OverflowError) as error:
            raise BackupError(f"{path} is not a backup, or not complete: {error}.") from error


def _checked(tar: tarfile.TarFile, copy: Path) -> Backup:
    try:
        manifest = Manifest.model_validate_json(_read(tar, MANIFEST, _MANIFEST_BYTES_MAX))
    except ValidationError:
        raise BackupError("The manifest of the backup cannot be understood.") from None
    if DATABASE not in manifest.files:
        raise BackupError("The backup has no database.")
    for name, entry in manifest.files.items():
        if name not in (DATABASE, KEY) and not is_media_name(name.removeprefix(MEDIA)):
            raise BackupError(f"The backup has a file that does not belong in it: {name!r}.")
        if name != DATABASE and entry.bytes > _FILE_BYTES_MAX:
            raise BackupError(f"The backup has a file that is too large: {name!r}.")
        with _member(tar, name, entry.bytes) as file:
            if digest(file) != entry.sha256:
                raise BackupError(f"The backup is damaged: the digest of {name} is wrong.")
    with _member(tar, DATABASE) as file, copy.open("wb") as out:
        shutil.copyfileobj(file, out, _PIECE_BYTES)
    _check_database(copy, manifest)
    return Backup(manifest, copy, tar)


def _check_database(copy: Path, manifest: Manifest) -> None:
    try:
        with closing(open_database(copy)) as database:
            found = [row[0] for row in database.execute("PRAGMA integrity_check")]
            strays = database.execute("PRAGMA foreign_key_check").fetchall()
            counts, revision = count_rows(database), revision_of(database)
    except sqlite3.Error as error:
        raise BackupError(f"The database in the backup is damaged: {error}.") from error
    if found != ["ok"]:
        raise BackupError(f"The database in the backup is damaged: {found[0]}.")
    if strays:
        raise BackupError(
            f"The database in the backup has rows with broken references: {strays[0]}."
        )
    if counts != manifest.tables or revision != manifest.revision:
        raise BackupError("The database in the backup is not the one that its manifest describes.")


def _member(tar: tarfile.TarFile, name: str, size: int | None = None) -> IO[bytes]:
    # Accept only plain files of the size in the manifest: a link could refer to itself, and a
    # sparse file of a few bytes could fill the disk.
    try:
        member = tar.getmember(name)
    except KeyError:
        member = None
    if member is None or not member.isreg() or member.issparse():
        raise BackupError(f"This is not a backup, or not complete: there is no {name} in it.")
    if size is not None and member.size != size:
        raise BackupError(f"The backup is damaged: the size of {name!r} is wrong.")
    file = tar.extractfile(member)
    if file is None:
        raise BackupError(f"The backup is damaged: {name!r} cannot be read.")
    return file


def _read(tar: tarfile.TarFile, name: str, limit: int) -> bytes:
    with _member(tar, name) as file:
        return file.read(limit)
