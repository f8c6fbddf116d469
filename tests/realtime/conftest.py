"""Fixtures of the tests of channels and of the hub."""

from collections.abc import Iterator

import pytest

from tests.fakes import FakeHistory, faultless_loop


@pytest.fixture
def loop() -> Iterator[None]:
    """The loop of a worker; a defect in it fails the test."""
    with faultless_loop():
        yield


@pytest.fixture
def history() -> FakeHistory:
    """What is stored."""
    return FakeHistory()
