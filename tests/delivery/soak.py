"""A long run: people talk, things break at random, and every few minutes it is counted.

`python -m tests.delivery.soak --minutes 10` goes over all ways to run Beseda that this machine
has the programs for. It ends with 1 at the first broken promise, and says which fault had gone
before and with which seed the same order comes again.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.delivery import faults
from tests.delivery.faults import Fault, Stage, postgresql_stage, sqlite_stage
from tests.delivery.load import Load
from tests.delivery.machines import PostgresServer, RedisServer
from tests.factories import close_clients

ROUND_SECONDS = 60  # between two counts
FAULT_SECONDS = 10.0  # how long something is away; the tests have less time
CALM_SECONDS = 3.0  # at most, between two faults


def stages(stack: ExitStack, folder: Path) -> Iterator[tuple[str, Stage, list[Fault]]]:
    """Yield each way to run Beseda, started, with what can break there."""
    for name in ("sqlite", "notify", "redis", "machines"):
        (folder / name).mkdir()
    yield "SQLite", stack.enter_context(sqlite_stage(folder / "sqlite")), faults.PROCESS_FAULTS
    if not PostgresServer.programs():
        print("SKIPPED: PostgreSQL, for want of initdb")
        return
    postgres = stack.enter_context(PostgresServer())
    often = faults.PROCESS_FAULTS + faults.DATABASE_FAULTS
    notify = stack.enter_context(postgresql_stage(folder / "notify", postgres))
    yield "PostgreSQL", notify, often
    if not RedisServer.program():
        print("SKIPPED: Redis, for want of redis-server")
        return
    redis = stack.enter_context(RedisServer())
    often = often + faults.REDIS_FAULTS
    with_redis = stack.enter_context(postgresql_stage(folder / "redis", postgres, redis))
    yield "PostgreSQL and Redis", with_redis, often
    machines = stack.enter_context(
        postgresql_stage(folder / "machines", postgres, redis, machines=2, workers=2)
    )
    yield "two machines", machines, often


def play_round(stage: Stage, choice: list[Fault], dice: random.Random, seconds: float) -> list[str]:
    """Let people talk for a while and break things under them.

    Returns:
        What went wrong.
    """
    ends_at = time.monotonic() + seconds
    excuses: set[str | int] = set()
    farewells: set[int] = set()
    with Load(stage.urls) as load:
        load.wait_until_busy()
        while time.monotonic() < ends_at:
            fault = dice.choice(choice)
            print(f"  {fault}", flush=True)
            excuses |= fault.excuses
            farewells |= fault.farewells
            fault.strike(stage)
            load.wait_until_live(fault.seconds)
            time.sleep(dice.uniform(0, CALM_SECONDS))
    print(f"  {load.report()}", flush=True)
    return load.problems(excuses=excuses, farewells=farewells)


def main() -> int:
    """Run until the time is over or something is wrong; return the exit status."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    dice = random.Random(options.seed)
    faults.at_least_seconds = FAULT_SECONDS
    ends_at = time.monotonic() + 60 * options.minutes
    folder = Path(tempfile.mkdtemp(prefix="beseda-soak-"))
    with ExitStack() as stack:
        stack.callback(close_clients)
        everywhere = list(stages(stack, folder))
        while (left := ends_at - time.monotonic()) > 0:
            for name, stage, choice in everywhere:
                print(f"{name}:", flush=True)
                seconds = min(ROUND_SECONDS, left / len(everywhere))
                try:
                    problems = play_round(stage, choice, dice, seconds)
                except AssertionError as error:
                    problems = [str(error)]
                if problems:
                    print("BROKEN:", *problems[:50], sep="\n  ")
                    print(*(f"log: {server.log}" for server in stage.servers), sep="\n")
                    return 1
    shutil.rmtree(folder)
    print("Nothing was lost, doubled or out of order.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
