"""Several workers on PostgreSQL, with a Redis between them and without, lose nothing either."""

from collections.abc import Iterator

import pytest

from tests.delivery import faults
from tests.delivery.faults import Fault, Stage, postgresql_stage
from tests.delivery.load import Load
from tests.delivery.machines import PostgresServer, RedisServer
from tests.delivery.signs import LogReader


@pytest.fixture(scope="module")
def stage_on_notify(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with postgresql_stage(tmp_path_factory.mktemp("notify"), postgres) as stage:
        yield stage


@pytest.fixture(scope="module")
def stage_on_redis(
    postgres: PostgresServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with postgresql_stage(tmp_path_factory.mktemp("redis"), postgres, redis) as stage:
        yield stage


def survive(stage: Stage, fault: Fault) -> None:
    log = LogReader(stage.servers)
    with Load(stage.urls) as load:
        load.wait_until_busy()
        faults.play(stage, fault, load)

    print(load.report())
    assert load.problems(excuses=fault.excuses, farewells=fault.farewells) == []
    assert log.complaints(fault.logged) == []


@pytest.mark.parametrize(
    "fault",
    [
        faults.MASTER_IS_KILLED,
        faults.WORKERS_ARE_RENEWED,
        faults.BACKENDS_ARE_TERMINATED,
        faults.DATABASE_IS_UNREACHABLE,
        faults.DATABASE_FALLS_SILENT,
        faults.DATABASE_CONNECTIONS_DIE_SILENTLY,
        faults.DATABASE_IS_RESTARTED,
    ],
    ids=str,
)
def test_nothing_is_lost_or_doubled_without_redis_when(
    stage_on_notify: Stage, fault: Fault
) -> None:
    survive(stage_on_notify, fault)


@pytest.mark.parametrize(
    "fault",
    [
        faults.WORKER_IS_KILLED,
        *faults.REDIS_FAULTS,
        faults.DATABASE_CRASHES,
        faults.DATABASE_STANDS_STILL,
    ],
    ids=str,
)
def test_nothing_is_lost_or_doubled_with_redis_when(stage_on_redis: Stage, fault: Fault) -> None:
    survive(stage_on_redis, fault)


def test_talk_goes_on_while_redis_is_away(stage_on_redis: Stage) -> None:
    assert stage_on_redis.to_redis

    with Load(stage_on_redis.urls) as load:
        load.wait_until_busy()
        stage_on_redis.to_redis.refuse()
        try:
            load.wait_until_live(faults.SWEPT_SECONDS)
        finally:
            stage_on_redis.to_redis.accept()

    assert load.problems() == []


def test_two_machines_hear_each_other(
    postgres: PostgresServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("machines")
    with (
        postgresql_stage(folder, postgres, redis, machines=2, workers=1) as stage,
        Load(stage.urls) as load,
    ):
        load.wait_until_busy()

    assert len(stage.urls) == 2
    assert load.problems() == []
