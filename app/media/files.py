"""Stores the files of messages, which only members may read. It serves nothing by itself.

A file is written as a draft and gets its name once it is whole. What touches the disk runs in a
thread, so that a slow disk does not stop the worker.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from app import threads

FOLDER = "files"
PIECE_BYTES = 256 * 1024

_NAME = re.compile(r"[0-9a-f]{32}(-small)?\Z")


@dataclass(slots=True)
class FileStats:
    """What this worker has done so far; plain numbers that only grow.

    Attributes:
        stored: Files that came in and are whole.
        stored_bytes: Their bytes, with those of small pictures.
    """

    stored: int = 0
    stored_bytes: int = 0


class FileStore(Protocol):
    """Where files are kept, by names that `is_file_name` accepts."""

    stats: FileStats

    def draft(self, name: str) -> IO[bytes]:
        """Return an empty file to write to, unbuffered. `delete` removes it.

        Raises:
            OSError: The store takes nothing at the moment.
        """

    def keep(self, name: str, draft: IO[bytes]) -> None:
        """Make a draft the file of this name.

        Raises:
            OSError: The store takes nothing at the moment.
        """

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        """Return a part of a file in pieces. The file is open when this returns.

        Raises:
            FileNotFoundError: There is no file of this name.
            OSError: The store cannot be asked at the moment.
        """

    def delete(self, name: str) -> None:
        """Remove a file and its draft; what is gone stays gone.

        Raises:
            OSError: It cannot be removed at the moment.
        """


def is_file_name(text: str) -> bool:
    """Tell whether a text looks like the name of a file of ours."""
    return bool(_NAME.match(text))


class FolderFiles:
    """Files in a folder, which several processes may share.

    Args:
        root: The media folder; ours is made in it with the first file, for its owner alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / FOLDER
        self.stats = FileStats()

    def draft(self, name: str) -> IO[bytes]:
        """Return an empty file to write to; it has the name and `.part`."""
        path = self._draft(name)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b", 0)

    def keep(self, name: str, draft: IO[bytes]) -> None:
        """Make a draft the file of this name, once the disk has all of it."""
        threads.run("disk", os.fsync, draft.fileno())
        self._draft(name).replace(self.path(name))

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        """Return a part of a file in pieces."""
        file = threads.run("disk", self.path(name).open, "rb", 0)
        return _pieces(file, start, length)

    def delete(self, name: str) -> None:
        """Remove a file and its draft."""
        self.path(name).unlink(missing_ok=True)
        self._draft(name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """List the names of all files, in no order."""
        for path in self._root.glob("??/*"):
            if is_file_name(path.name):
                yield path.name

    def path(self, name: str) -> Path:
        """Return where the file of a name is, or would be."""
        if not is_file_name(name):
            raise FileNotFoundError(name)
        return self._root / name[:2] / name

    def _draft(self, name: str) -> Path:
        return self.path(name).with_suffix(".part")


def _pieces(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while length > 0:
            piece = threads.run("disk", file.read, min(length, PIECE_BYTES))
            if not piece:
                return
            length -= len(piece)
            yield piece
