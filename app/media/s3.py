"""Stores pictures in a bucket of an S3-compatible storage.

For machines whose disk is emptied by a restart, or several machines without a common disk. The
server reads the pictures from the bucket and serves them, so the bucket need not be public. The
only file that knows boto3, which is installed only where `MEDIA_URL` is used.
"""

import logging
from contextlib import suppress
from functools import cache
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


def connect(bucket: Bucket, **options: Any) -> Any:
    """Return a client for a bucket.

    Args:
        bucket: The bucket. boto3 reads the credentials from the environment.
        options: Of botocore, in place of ours.
    """
    style = {"s3": {"addressing_style": "path"}} if bucket.endpoint else {}
    return _session().client(
        "s3",
        endpoint_url=bucket.endpoint,
        region_name=bucket.region,
        config=ClientConfig(**_OPTIONS | style | options),
    )


@cache
def _session() -> Any:
    return boto3.session.Session()  # each one reads the description of the API, for 0.2 s


class BucketStore:
    """Pictures in a bucket, which several machines may share.

    Args:
        bucket: The bucket. boto3 reads the credentials from the environment.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._client = connect(bucket)

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
            raise unavailable(error) from error
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
            raise unavailable(error) from error

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
            if code_of(error) == "NoSuchKey":
                return None
            raise unavailable(error) from error
        except BotoCoreError as error:
            raise unavailable(error) from error

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket.name, "Key": self._bucket.prefix + name}


def unavailable(error: Exception) -> OSError:
    """Return what an error of boto3 is to those who know only files; it is logged."""
    log.warning("the storage of files cannot be used: %s", code_of(error))
    return OSError(str(error))


def code_of(error: Exception) -> str:
    """Return the storage's code of an error, or the name of its class."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code"))
    return type(error).__name__
