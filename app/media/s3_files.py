"""Stores the files of messages in a bucket, as `app/media/files.py` does in a folder."""

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from botocore.exceptions import BotoCoreError, ClientError

from app import threads
from app.media.files import FOLDER, PIECE_BYTES, FileStats, is_file_name
from app.media.s3 import code_of, connect, unavailable
from config_urls import Bucket

READ_SECONDS = 20  # that the storage may take to answer for a large file


class BucketFiles:
    """Files in a bucket, which several machines may share.

    Args:
        bucket: The bucket. boto3 reads the credentials from the environment.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.stats = FileStats()
        self._client = connect(bucket, read_timeout=READ_SECONDS)

    def draft(self, _name: str) -> IO[bytes]:
        """Return an empty file to write to. It has no name, so a killed worker leaves nothing."""
        return tempfile.TemporaryFile("w+b", buffering=0)

    def keep(self, name: str, draft: IO[bytes]) -> None:
        """Upload a draft."""
        draft.seek(0)
        try:
            self._client.put_object(**self._object(name), Body=_Shared(draft))
        except (BotoCoreError, ClientError) as error:
            raise unavailable(error) from error

    def read(self, name: str, start: int, length: int) -> Iterator[bytes]:
        """Return a part of a file in pieces."""
        if not length:
            return iter(())
        part = f"bytes={start}-{start + length - 1}"
        try:
            found = self._client.get_object(**self._object(name), Range=part)
        except (BotoCoreError, ClientError) as error:
            if code_of(error) == "NoSuchKey":
                raise FileNotFoundError(name) from error
            raise unavailable(error) from error
        return _pieces(found["Body"])

    def delete(self, name: str) -> None:
        """Remove a file."""
        try:
            self._client.delete_object(**self._object(name))
        except (BotoCoreError, ClientError) as error:
            raise unavailable(error) from error

    def _object(self, name: str) -> dict[str, str]:
        if not is_file_name(name):
            raise FileNotFoundError(name)
        return {"Bucket": self._bucket.name, "Key": f"{self._bucket.prefix}{FOLDER}/{name}"}


class _Shared:
    """A draft whose reader lets others work now and then: boto3 hashes all before it sends."""

    def __init__(self, draft: IO[bytes]) -> None:
        self._draft = draft
        self.seek, self.tell = draft.seek, draft.tell

    def read(self, size: int = -1) -> bytes:
        threads.give_way()
        return self._draft.read(min(size, PIECE_BYTES) if size > 0 else size)


def _pieces(body: Any) -> Iterator[bytes]:
    with body:
        yield from body.iter_chunks(PIECE_BYTES)
