"""Tests of files run on both databases, and on both stores: in a folder, and in a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.buckets import KEYS
from tests.conftest import application


@pytest.fixture(params=["sqlite", "postgresql", "bucket"])
def app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    """The application on an empty, migrated database; once with a bucket in place of a folder."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with application(request, tmp_path) as app:
        yield app
