"""A long run: people talk, everything breaks that can, and every few minutes it is counted.

`python -m tests.delivery.soak --minutes 10` goes over all ways to run Beseda that this machine
has the programs for. On each of them all faults are played in an order drawn by lot, and when
all have been, in another one. It ends with the figures; with 1 at the first broken promise, and
says which fault had gone before and with which seed the same order comes again.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.delivery import faults
from tests.delivery.checker import Rule, check
from tests.delivery.faults import Fault, Stage, postgresql_stage, sqlite_stage
from tests.delivery.load import Load, shown_quantiles
from tests.delivery.machines import PostgresServer, RedisServer
from tests.delivery.signs import LogReader
from tests.factories import close_clients

ROUND_SECONDS = 60  # between two counts
FAULT_SECONDS = 5.0  # how long everything is away at least; the tests have less time
CALM_SECONDS = 2.0  # at most, between two faults

LOST = {Rule.NOT_STORED, Rule.LOST, Rule.GAP, Rule.GAP_AFTER_RESUME}
DOUBLED = {Rule.STORED_TWICE, Rule.DOUBLED, Rule.OLD}
DISORDERED = {Rule.LISTED_IN_DISORDER, Rule.COMMITTED_IN_DISORDER, Rule.OUT_OF_ORDER}


@dataclass
class Play:
    """One way to run Beseda, what can break there, and what was seen.

    Attributes:
        deck: Faults that are still to be played before any comes again.
        played: How often each was.
        broken: How often each promise was.
        heard_seconds: How long messages took to those who had sockets open.
        slowest_return: How long it took at most, after a fault, until everybody heard again.
    """

    name: str
    stage: Stage
    faults: Sequence[Fault]
    dice: random.Random
    deck: list[Fault] = field(default_factory=list)
    played: Counter[str] = field(default_factory=Counter)
    broken: Counter[Rule] = field(default_factory=Counter)
    messages: int = 0
    heard_seconds: list[float] = field(default_factory=list)
    slowest_return: float = 0.0

    def round(self, seconds: float) -> list[str]:
        """Let people talk for a while and break things under them.

        Returns:
            What went wrong.
        """
        ends_at = time.monotonic() + seconds
        log = LogReader(self.stage.servers)
        seen: list[Fault] = []
        problems: list[str] = []
        with Load(self.stage.urls) as load:
            load.wait_until_busy()
            while time.monotonic() < ends_at and not problems:
                seen.append(fault := self._draw())
                print(f"  {fault}", flush=True)
                self.played[str(fault)] += 1
                came_back = faults.play(self.stage, fault, load)
                self.slowest_return = max(self.slowest_return, came_back)
                problems += self._damage()
                time.sleep(self.dice.uniform(0, CALM_SECONDS))
        print(f"  {load.report()}", flush=True)
        self.messages += len(load.history.acks)
        self.heard_seconds += load.on_text()
        self.broken.update(verdict.rule for verdict in check(load.history))
        excuses = frozenset[str | int]().union(*(fault.excuses for fault in seen))
        farewells = frozenset[int]().union(*(fault.farewells for fault in seen))
        logged = "|".join(fault.logged for fault in seen if fault.logged)
        problems += load.problems(excuses=excuses, farewells=farewells)
        return problems + log.complaints(logged or None)

    def figures(self) -> str:
        """Return what was seen, in a few lines."""
        lost, doubled, disordered = (
            sum(self.broken[rule] for rule in rules) for rules in (LOST, DOUBLED, DISORDERED)
        )
        never = [str(fault) for fault in self.faults if not self.played[str(fault)]]
        lines = [
            f"{self.name}: {self.messages} messages; {lost} lost, {doubled} doubled,"
            f" {disordered} out of order",
            f"  heard in {shown_quantiles(self.heard_seconds)};"
            f" slowest return {self.slowest_return:.1f} s",
            f"  {self.played.total()} faults: "
            + ", ".join(f"{times} {name}" for name, times in sorted(self.played.items())),
        ]
        if never:
            lines.append(f"  never played, for want of time: {', '.join(never)}")
        return "\n".join(lines)

    def _draw(self) -> Fault:
        if not self.deck:
            self.deck = list(self.faults)
            self.dice.shuffle(self.deck)
        return self.deck.pop()

    def _damage(self) -> list[str]:
        if self.stage.ways_to_database:
            return []
        found = {server.folder: faults.integrity(server) for server in self.stage.servers}
        return [f"{folder}: {answer}" for folder, answer in found.items() if answer != "ok"]


def plays(stack: ExitStack, folder: Path, dice: random.Random) -> Iterator[Play]:
    """Yield each way to run Beseda, started, with what can break there."""
    for name in ("sqlite", "notify", "redis", "machines"):
        (folder / name).mkdir()
    everywhere = faults.PROCESS_FAULTS + faults.CLIENT_FAULTS
    yield Play("SQLite", stack.enter_context(sqlite_stage(folder / "sqlite")), everywhere, dice)
    if not PostgresServer.programs():
        print("SKIPPED: PostgreSQL, for want of initdb")
        return
    postgres = stack.enter_context(PostgresServer())
    often = everywhere + faults.DATABASE_FAULTS
    notify = stack.enter_context(postgresql_stage(folder / "notify", postgres))
    yield Play("PostgreSQL", notify, often, dice)
    if not RedisServer.program():
        print("SKIPPED: Redis, for want of redis-server")
        return
    redis = stack.enter_context(RedisServer())
    often = often + faults.REDIS_FAULTS
    with_redis = stack.enter_context(postgresql_stage(folder / "redis", postgres, redis))
    yield Play("PostgreSQL and Redis", with_redis, often, dice)
    machines = stack.enter_context(
        postgresql_stage(folder / "machines", postgres, redis, machines=2, workers=2)
    )
    yield Play("two machines", machines, often + faults.MACHINE_FAULTS, dice)


def main() -> int:
    """Run until the time is over or something is wrong; return the exit status."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    dice = random.Random(options.seed)
    random.seed(options.seed)  # whom a fault hits is drawn there
    faults.at_least_seconds = FAULT_SECONDS
    folder = Path(tempfile.mkdtemp(prefix="beseda-soak-"))
    with ExitStack() as stack:
        stack.callback(close_clients)
        everywhere = list(plays(stack, folder, dice))
        most = max(len(play.faults) for play in everywhere)
        share = sum(len(play.faults) for play in everywhere)
        is_broken = False
        ends_at = time.monotonic() + 60 * options.minutes
        while (left := ends_at - time.monotonic()) > 0 and not is_broken:
            for play in everywhere:
                print(f"{play.name}:", flush=True)
                # Where more can break, there is more time for it.
                weight = len(play.faults)
                try:
                    problems = play.round(min(ROUND_SECONDS * weight / most, left * weight / share))
                except AssertionError as error:
                    problems = [str(error)]
                if problems:
                    is_broken = True
                    print("BROKEN:", *problems[:50], sep="\n  ")
                    print(*(f"log: {server.log}" for server in play.stage.servers), sep="\n")
                    break
        print(*(play.figures() for play in everywhere), sep="\n")
    if is_broken:
        return 1
    shutil.rmtree(folder)
    print("Nothing was lost, doubled or out of order.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
