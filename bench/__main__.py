"""`python -m bench`: servers in turn, every answer checked, a table and a picture in the end."""

import argparse
import gc
import json
import resource
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from bench import contestants, plan, report
from bench.arena import Arena
from bench.contestants import Contestant, Missing
from bench.machine import LOAD_CPU, SERVER_CPU, on_cpu
from bench.plan import Scenario, Size
from bench.report import Run
from bench.scenarios import Outcome
from tests.servers import ROOT

RESULTS = ROOT / "bench" / "results"
SIZES = {"full": plan.FULL, "quick": plan.QUICK, "tiny": plan.TINY}


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        The exit status: 1 where Beseda broke a promise or did not come to its end.
    """
    options = _options(arguments)
    size = SIZES[options.size]
    if options.rounds:
        size = Size(**asdict(size) | {"rounds": options.rounds})
    chosen = [plan.BY_KEY[key] for key in options.scenarios]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if SERVER_CPU == LOAD_CPU:
        print("NOTE: there is one CPU here; servers and load share it, so rates mean little.")
    absent: dict[str, str] = {}
    runs: list[Run] = []
    with Arena(size.rooms) as arena:
        for scenario in chosen:
            print(scenario.title, flush=True)
            names = options.servers or ["beseda", *scenario.contestants]
            for _ in range(scenario.rounds or size.rounds):
                for name in names:
                    contestant = contestants.BY_KEY[name]
                    if outcome := _turn(arena, scenario, contestant, size, absent):
                        runs.append(Run(scenario.key, name, outcome))
                        _tell(scenario, contestant, outcome)
                    _write(options.output, runs)
    print()
    print(report.markdown(runs))
    for what, why in absent.items():
        print(f"SKIPPED: {what}: {why}")
    print(f"Written: {options.output}/report.md, report.svg, runs.json")
    ours = [run for run in runs if run.contestant.startswith("beseda")]
    return int(not ours or any(run.outcome.faults for run in ours))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return [each for each in text.split(",") if each]

    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, help="how often everybody takes a turn")
    parser.add_argument(
        "--scenarios",
        type=listed,
        default=list(plan.BY_KEY),
        help=f"of {', '.join(plan.BY_KEY)}",
    )
    parser.add_argument(
        "--servers",
        type=listed,
        help=f"of {', '.join(contestants.BY_KEY)}; the default depends on the scenario",
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    for wanted, known in ((options.scenarios, plan.BY_KEY), (options.servers, contestants.BY_KEY)):
        if unknown := set(wanted or ()) - known.keys():
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def _turn(
    arena: Arena, scenario: Scenario, contestant: Contestant, size: Size, absent: dict[str, str]
) -> Outcome | None:
    what = f"{contestant.name} on {scenario.database}"
    if what in absent:
        return None
    try:
        contestants.install(contestant)
        rows = size.rows if scenario.has_rows else ()
        with (
            arena.stage(
                contestant, scenario.database, workers=scenario.workers, rows=rows
            ) as stage,
            on_cpu(LOAD_CPU),
            _no_collector(),
        ):
            return scenario.play(stage, size)
    except Missing as error:
        absent[what] = str(error)
        print(f"  SKIPPED: {what}: {error}", flush=True)
        return None
    except (OSError, AssertionError, ValueError, LookupError) as error:
        # A contestant that breaks down is a result, too.
        traceback.print_exc()
        return Outcome({}, {f"broke down: {type(error).__name__}": 1})


@contextmanager
def _no_collector() -> Iterator[None]:
    # It would go over all that was heard, again and again, while a server waits.
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _tell(scenario: Scenario, contestant: Contestant, outcome: Outcome) -> None:
    shown = [
        f"{name} {report.number(outcome.figures[name])}" for name in scenario.shown(outcome.figures)
    ]
    faults = "; ".join(f"{times} {what}" for what, times in outcome.faults.items()) or "answers ok"
    print(
        f"  {contestant.name}: {', '.join(shown)}; {faults};"
        f" load generator {outcome.client:.0%}, other programs {outcome.strangers:.0%}",
        flush=True,
    )


def _write(folder: Path, runs: list[Run]) -> None:
    # After every turn, so that a run that is cut off leaves what it has found.
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "runs": [asdict(run) for run in runs],
    }
    (folder / "runs.json").write_text(json.dumps(content, ensure_ascii=False, indent=1))
    (folder / "report.md").write_text(report.markdown(runs))
    (folder / "report.svg").write_text(report.svg(runs))


if __name__ == "__main__":
    sys.exit(main())
