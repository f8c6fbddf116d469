"""Statements to which PostgreSQL does not answer in time."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from app.database import transactions
from app.database.engine import engine_options, prepare
from app.database.errors import is_unavailable
from app.database.transactions import reading, writing
from app.database.watchdog import start_watchdog
from config_urls import database_url

SLOW = text("SELECT pg_sleep(1)")


@pytest.fixture
def engine(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine whose statements may take 0.2 s."""
    monkeypatch.setattr(transactions, "ANSWER_SECONDS", 0.2)
    url = database_url(postgresql_url)
    engine = create_engine(url, **engine_options(url, 2))
    prepare(engine)
    start_watchdog(engine)
    yield engine
    engine.dispose()


def test_statement_that_is_not_answered_in_time_ends(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as caught, reading(engine) as connection:
        connection.execute(SLOW)

    assert is_unavailable(caught.value)
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_statement_of_a_patient_transaction_may_take_longer(engine: Engine) -> None:
    with writing(engine, patient=True) as connection:
        assert connection.execute(SLOW).all()
