"""Stores pictures in a bucket of an S3-compatible storage.

For machines whose disk is emptied by a restart, or several machines without a common disk. The
server reads the pictures from the bucket and serves them, so the bucket need not be public. The
only file that knows boto3, which is installed only where `MEDIA_URL` is used.
"""

import logging
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from app.media.store import DEFAULT, SHIPPED, Fetched, is_name, new_name
from config_urls import Bucket

log = logging.getLogger(__name__)

_OPTIONS: dict[str, Any] = {
    # With one retry a request fails within about 5 s if the storage is away.
    "connect_timeout": 1,
    "read_timeout": 2,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
    "max_pool_connections": 50,
    # boto3 (from 1.36) adds checksums that other storages than Amazon's do not know.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


class BucketStore:
    """Pictures in a bucket, which several machines may share.

    Args:
        bucket: The bucket. boto3 reads the credentials from the environment.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        options = _OPTIONS | ({"s3": {"addressing_style": "path"}} if bucket.endpoint else {})
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=bucket.endpoint,
            region_name=bucket.region,
            config=ClientConfig(**options),
        )

    def save(self, data: bytes) -> str:
        """Store a JPEG and return its name, which nobody can guess.

        Raises:
            OSError: The storage is away or refuses; nothing is left behind.
        """
        name = new_name()
        try:
            self._client.put_object(**self._object(name), Body=data, ContentType="image/jpeg")
        except (BotoCoreError, ClientError) as error:
            with suppress(OSError):  # it may be stored, and only the response was lost
                self.delete(name)
            raise _unavailable(error) from error
        return name

    def delete(self, name: str | None) -> None:
        """Remove a picture. For one that does not exist, or the default picture, do nothing.

        Raises:
            OSError: The storage is away or refuses.
        """
        if name is None or not is_name(name):
            return
        try:
            self._client.delete_object(**self._object(name))
        except (BotoCoreError, ClientError) as error:
            raise _unavailable(error) from error

    def find(self, name: str) -> Any:
        """Return the picture of this name, or None.

        Raises:
            OSError: The storage is away or refuses.
        """
        if name == DEFAULT:
            return SHIPPED
        if not is_name(name):
            return None
        try:
            found = self._client.get_object(**self._object(name))
            with found["Body"] as body:
                return Fetched(body.read(), found.get("LastModified"))
        except ClientError as error:
            if _word(error) == "NoSuchKey":
                return None
            raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket.name, "Key": self._bucket.prefix + name}


def _unavailable(error: Exception) -> OSError:
    log.warning("the bucket for pictures cannot be used: %s", _word(error))
    return OSError(str(error))


def _word(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code"))
    return type(error).__name__
