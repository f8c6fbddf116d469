"""More connections than PostgreSQL takes."""

import logging
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from app.database.capacity import warn_of_too_many_connections
from app.database.engine import engine_options, prepare
from config_urls import database_url
from tests.apps import sqlite_url


def engine_of(url: str, pool_size: int) -> Engine:
    engine = create_engine(database_url(url), **engine_options(database_url(url), pool_size))
    prepare(engine)
    return engine


def test_workers_that_may_open_too_many_connections_are_warned_of(
    postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(postgresql_url, 998)

    warn_of_too_many_connections(engine, workers=3)
    engine.dispose()

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "3 workers may open 3000 connections" in record.getMessage()
    assert "lower DATABASE_POOL_SIZE" in record.getMessage()


def test_workers_that_fit_are_not(
    postgresql_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for url, workers in ((postgresql_url, 2), (sqlite_url(tmp_path), 1000)):
        engine = engine_of(url, 3)
        warn_of_too_many_connections(engine, workers)
        engine.dispose()

    assert not caplog.records
