"""All that an installation keeps in `MEDIA_ROOT`, by name, for backups."""

from collections.abc import Iterator
from pathlib import Path

from app.media.files import FOLDER, FolderFiles, is_file_name
from app.media.store import FolderStore, is_name

_FILES = f"{FOLDER}/"


def is_media_name(text: str) -> bool:
    """Tell whether a text looks like the name of a picture, or of a file of a message."""
    return is_name(text) or (text.startswith(_FILES) and is_file_name(text.removeprefix(_FILES)))


def file_names(upload_id: str, *, has_small: bool) -> Iterator[str]:
    """Return the names of an upload's files."""
    yield f"{_FILES}{upload_id}"
    if has_small:
        yield f"{_FILES}{upload_id}-small"


class MediaFolder:
    """Pictures and files of messages in one folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._pictures = FolderStore(root)
        self._files = FolderFiles(root)

    def names(self) -> Iterator[str]:
        """List the names of all that is there, in no order."""
        yield from self._pictures.names()
        for name in self._files.names():
            yield _FILES + name

    def find(self, name: str) -> Path | None:
        """Return the path of a picture or a file, or None."""
        if not name.startswith(_FILES):
            return self._pictures.find(name)
        path = self._files.path(name.removeprefix(_FILES))
        return path if path.is_file() and not path.is_symlink() else None

    def put(self, name: str, data: bytes) -> None:
        """Store a picture or a file under its name.

        Raises:
            OSError: The disk is full or not writable; nothing is left behind.
        """
        if not name.startswith(_FILES):
            self._pictures.put(name, data)
            return
        name = name.removeprefix(_FILES)
        self._files.delete(name)
        with self._files.draft(name) as draft:
            draft.write(data)
            self._files.keep(name, draft)

    def delete(self, name: str) -> None:
        """Remove a picture or a file; what is gone stays gone."""
        if name.startswith(_FILES):
            self._files.delete(name.removeprefix(_FILES))
        else:
            self._pictures.delete(name)
