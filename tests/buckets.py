"""A real storage that speaks S3, in a process of its own, and what its owner sees in it."""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import httpx

from config_urls import Bucket
from tests import processes
from tests.servers import START_SECONDS, free_port

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "not so secret"}
BUCKET = "pictures"


@contextmanager
def storage() -> Iterator[str]:
    """Yield the URL of a storage with one bucket, `BUCKET`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = processes.start(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                httpx.get(url, timeout=2)
                break
            except httpx.TransportError:
                assert process.poll() is None
                time.sleep(0.05)
        owner_of(url).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@cache
def owner_of(endpoint: str) -> Any:
    """Return a client of the bucket's owner; making one takes 0.2 s."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )


def new_url(endpoint: str) -> str:
    """Return a `MEDIA_URL` whose prefix nobody has used."""
    prefix = secrets.token_hex(8)
    return f"s3://{BUCKET}/{prefix}?endpoint={endpoint}&region=us-east-1"


def contents(bucket: Bucket) -> Mapping[str, bytes]:
    """Return all that is in a bucket below its prefix, by name."""
    owner = owner_of(str(bucket.endpoint))
    found = owner.list_objects_v2(Bucket=bucket.name, Prefix=bucket.prefix).get("Contents", [])
    return {
        each["Key"].removeprefix(bucket.prefix): owner.get_object(
            Bucket=bucket.name, Key=each["Key"]
        )["Body"].read()
        for each in found
    }
