"""Files as the API shows them, in the response to an upload and in messages alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.http.json import encode
from app.messenger.files.schemas import FileOut

FILES_URL = "/messenger/api/files/"


def file_out(upload: Mapping[str, Any]) -> FileOut:
    """Return a file as the API shows it.

    Args:
        upload: The columns of its row that are shown.
    """
    url = f"{FILES_URL}{upload['id']}/"
    shown: FileOut = {
        "id": upload["id"],
        "name": upload["name"],
        "type": upload["type"],
        "size": upload["bytes"],
        "url": url,
    }
    if upload["width"] is not None:
        shown |= {"width": upload["width"], "height": upload["height"]}
    if upload["small_bytes"]:
        shown["small"] = f"{url}?size=small"
    return shown


def attachments_of(uploads: Sequence[Mapping[str, Any]]) -> str:
    """Return what a message keeps of its files: all that is shown of them, as JSON."""
    return encode([file_out(upload) for upload in uploads]).decode()


def fallback_of(files: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that a message without one gets, for clients that show no files."""
    return "\n".join(file["name"] for file in files)


def shown_attachments(kept: str, content: str) -> dict[str, Any]:
    """Return what a message shows of its files.

    Args:
        kept: What `attachments_of` returned.
        content: The text of the message. `fallback` says that it has only the names.
    """
    files = orjson.loads(kept)
    shown = {"attachments": files}
    return shown | {"fallback": True} if content == fallback_of(files) else shown
