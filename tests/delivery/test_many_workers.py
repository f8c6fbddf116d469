"""Several workers on PostgreSQL, with a Redis between them and without, lose nothing either."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.delivery import faults, signs
from tests.delivery.faults import Fault, Stage, postgresql_stage
from tests.delivery.load import Load
from tests.delivery.machines import PostgresServer, RedisServer, wait_for
from tests.delivery.signs import LogReader

pytestmark = [pytest.mark.long, pytest.mark.alone]


@pytest.fixture(scope="module")
def stage_on_notify(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with postgresql_stage(tmp_path_factory.mktemp("notify"), postgres) as stage:
        wait_for(lambda: faults.bus_of(stage) == "notify", 10, "PostgreSQL is the bus")
        yield stage


@pytest.fixture(scope="module")
def stage_on_redis(
    postgres: PostgresServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with postgresql_stage(tmp_path_factory.mktemp("redis"), postgres, redis) as stage:
        wait_for(lambda: faults.bus_of(stage) == "redis", 10, "Redis is the bus")
        yield stage


@pytest.fixture(scope="module")
def two_machines(
    postgres: PostgresServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("machines")
    with postgresql_stage(folder, postgres, redis, machines=2, workers=2) as stage:
        wait_for(lambda: faults.bus_of(stage) == "redis", 10, "Redis is the bus")
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
    [*faults.PROCESS_FAULTS, *faults.DATABASE_FAULTS],
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
        faults.MASTER_IS_KILLED,
        faults.WORKERS_ARE_RENEWED,
        *faults.REDIS_FAULTS,
        faults.BACKENDS_ARE_TERMINATED,
        faults.DATABASE_CRASHES,
        faults.DATABASE_IS_RESTARTED,
        faults.DATABASE_STANDS_STILL,
    ],
    ids=str,
)
def test_nothing_is_lost_or_doubled_with_redis_when(stage_on_redis: Stage, fault: Fault) -> None:
    survive(stage_on_redis, fault)


@pytest.mark.parametrize(
    "fault", [faults.SERVER_IS_RESTARTED, faults.REDIS_IS_RESTARTED_EMPTY], ids=str
)
def test_nothing_is_lost_or_doubled_on_two_machines_when(two_machines: Stage, fault: Fault) -> None:
    survive(two_machines, fault)


@pytest.mark.parametrize(
    ("absence", "fault"),
    [
        (faults.machine_is_dead, faults.MACHINE_IS_KILLED),
        (faults.machine_has_no_database, faults.MACHINE_LOSES_DATABASE),
    ],
    ids=["dead", "no_database"],
)
def test_one_machine_goes_on_while_the_other_is_or_has(
    two_machines: Stage,
    absence: Callable[[Stage], AbstractContextManager[None]],
    fault: Fault,
) -> None:
    log = LogReader(two_machines.servers)
    with Load(two_machines.urls) as load:
        load.wait_until_busy()
        faults.spread(two_machines, load)
        with absence(two_machines):
            load.wait_until_live(faults.LIVE_SECONDS, url=two_machines.urls[1])
            time.sleep(faults.GONE_SECONDS)
        load.wait_until_live(fault.seconds)
        faults.spread(two_machines, load)
        faults.wait_until_rung(two_machines)

    print(load.report())
    assert load.problems(excuses=fault.excuses, farewells=fault.farewells) == []
    assert load.closers <= {two_machines.urls[0]}
    assert log.complaints(fault.logged) == []


def test_two_machines_hear_each_other_while_one_has_no_redis(two_machines: Stage) -> None:
    # One speaker in each room, on either machine: nobody is reminded to read by what others say.
    with Load(two_machines.urls, speakers=1) as load:
        load.wait_until_busy(0)
        faults.spread(two_machines, load)
        with faults.machine_has_no_redis(two_machines):
            load.wait_until_live(faults.LIVE_SECONDS)
            time.sleep(faults.GONE_SECONDS)
        load.wait_until_live(faults.LIVE_SECONDS)
        faults.spread(two_machines, load)
        faults.wait_until_rung(two_machines)

    print(load.report())
    assert load.problems() == []


def states(stage: Stage) -> set[str]:
    """Return what the workers say of themselves; each of them has its turn, most likely."""
    return {signs.readiness(server) for server in stage.servers for _ in range(20)}


def test_messages_cross_workers_by_notifications(stage_on_notify: Stage) -> None:
    with Load(stage_on_notify.urls, speakers=1) as load:
        load.wait_until_busy(0)
        faults.spread(stage_on_notify, load)
        faults.wait_until_rung(stage_on_notify)

    print(load.report())
    assert load.problems() == []


def test_lost_notifications_make_messages_late_but_not_lost(stage_on_notify: Stage) -> None:
    (way,) = stage_on_notify.ways_to_database
    with Load(stage_on_notify.urls, speakers=1) as load:
        load.wait_until_busy(0)
        faults.spread(stage_on_notify, load)
        way.loses_notifications = True
        try:
            wait_for(lambda: states(stage_on_notify) == {"degraded"}, 10, "they notice")
            load.wait_until_live(faults.RECONCILED_SECONDS)
            still = states(stage_on_notify)
        finally:
            way.loses_notifications = False
        faults.wait_until_rung(stage_on_notify)

    print(load.report())
    assert load.problems() == []
    assert still == {"degraded"}


def test_talk_goes_on_while_redis_is_away(stage_on_redis: Stage) -> None:
    with Load(stage_on_redis.urls, speakers=1) as load:
        load.wait_until_busy(0)
        faults.spread(stage_on_redis, load)
        with faults.machine_has_no_redis(stage_on_redis):
            wait_for(lambda: states(stage_on_redis) == {"degraded"}, 10, "they notice")
            load.wait_until_live(faults.RECONCILED_SECONDS)
            still = states(stage_on_redis)
        faults.wait_until_rung(stage_on_redis)

    print(load.report())
    assert load.problems() == []
    assert still == {"degraded"}
