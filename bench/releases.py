"""`python -m bench.releases FOLDER`: the chat of this code beside that of another release.

FOLDER is a checkout of the other release with its libraries in `.venv`, as `make run` leaves it.
Both take turns on fresh databases, by sockets of rooms, with the same load.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import median

import psycopg

from bench.arena import POSTGRESQL, SQLITE, Arena
from bench.contestants import BY_KEY, Contestant, Peer
from bench.machine import LOAD_CPU, on_cpu
from bench.scenarios import Outcome, chat

ROOMS = 20
SLOW_COMMIT_MICROSECONDS = 10_000

SCENARIOS = {  # database, workers, whether each commit takes 10 ms
    "sqlite": (SQLITE, 1, False),
    **{f"postgresql-{workers}": (POSTGRESQL, workers, False) for workers in (1, 2, 3)},
    **{f"slow-{workers}": (POSTGRESQL, workers, True) for workers in (1, 2, 3)},
}


def release_in(folder: Path) -> Contestant:
    """Return the release in a folder as a contestant."""
    python = str(folder / ".venv" / "bin" / "python")

    class Release(Peer):
        home = folder

        @property
        def release(self) -> list[str]:
            return [python, "-m", "flask", "--app", "wsgi", "db", "upgrade"]

        @property
        def web(self) -> list[str]:
            return [
                *(python, "-m", "gunicorn", "-c", "gunicorn.conf.py"),
                *("--bind", f"127.0.0.1:{self.port}", "wsgi:app"),
            ]

    return Contestant("other", "other", Release, BY_KEY["beseda"].settings)


def slow_down(arena: Arena, *, is_slow: bool) -> None:
    """Let each commit of PostgreSQL take 10 ms, or as long as it takes."""
    delay = SLOW_COMMIT_MICROSECONDS if is_slow else 0
    with psycopg.connect(arena.postgres.url, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE postgres SET commit_delay = {delay}")
        # It waits for others to join the commit only if so many are there.
        connection.execute(f"ALTER ROLE postgres SET commit_siblings = {0 if is_slow else 5}")


def main() -> None:
    """Run what is asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4)
    asked = parser.parse_args()
    both = [release_in(asked.folder.resolve()), BY_KEY["beseda"]]
    print("| | other: messages/s, p99 ms | this: messages/s, p99 ms | this / other |")
    print("|---|---|---|---|")
    with Arena(ROOMS) as arena:
        for name in asked.scenarios.split(","):
            database, workers, is_slow = SCENARIOS[name]
            if database == POSTGRESQL:
                slow_down(arena, is_slow=is_slow)
            outcomes: dict[str, list[Outcome]] = defaultdict(list)
            for _ in range(asked.rounds):
                for contestant in both:
                    with (
                        arena.stage(contestant, database, workers=workers) as stage,
                        on_cpu(LOAD_CPU),
                    ):
                        outcome = chat(stage, seconds=asked.seconds, warmup=1.5)
                    assert not outcome.faults, outcome.faults
                    outcomes[contestant.key].append(outcome)
            print(_line(name, outcomes["other"], outcomes["beseda"]), flush=True)


def _line(name: str, before: list[Outcome], after: list[Outcome]) -> str:
    def middle(outcomes: list[Outcome], figure: str) -> float:
        return median(outcome.figures[figure] for outcome in outcomes)

    def shown(outcomes: list[Outcome]) -> str:
        rate, slow = middle(outcomes, "messages/s"), middle(outcomes, "p99 ms")
        return f"{rate:,.0f}, {slow:.1f}"

    ratio = middle(after, "messages/s") / middle(before, "messages/s")
    return f"| {name} | {shown(before)} | {shown(after)} | {ratio:.2f} |"


if __name__ == "__main__":
    main()
