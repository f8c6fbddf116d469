"""`python -m bench.attacks`: attackers against one real worker, and what others notice of them.

Each attack gets a worker of its own, on a copy of one database, with the limits that ship. Beside
it two people chat and a health check is asked for, all the time. `--checkout` names another release
(with its own `.venv`); `--before` a file of results to compare with.
"""

import argparse
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.attacks.catalogue import Attack, all_attacks
from bench.attacks.kit import Scene
from bench.attacks.meter import Meter
from bench.attacks.site import Template
from tests.servers import ROOT

P99_MS = 250.0
WORST_MS = 1000.0
PEAK_MIB = 350.0
PICTURE_TIMES = 5  # so many times as long may a picture take
NICENESS = 19  # of attackers: they would be elsewhere, and not take the machine from hashes
QUIET_SECONDS = 0.3
Result = dict[str, Any]


@dataclass(frozen=True)
class Bounds:
    """What others may notice of an attack."""

    p99: float = P99_MS
    worst: float = WORST_MS
    peak: float = PEAK_MIB

    def broken(self, result: Result) -> list[str]:
        """Return what is worse than it may be."""
        found = []
        for name, times in result["times"].items():
            if name in ("chat", "health") and times["p99"] > self.p99:
                found.append(f"{name} p99")
            # Pictures wait for pictures; what is promised is that nothing else does.
            if times["worst"] > self.worst * (PICTURE_TIMES if name == "picture" else 1):
                found.append(f"{name} worst")
            if times["failed"]:
                found.append(f"{name} failed {times['failed']}")
        if result["peak"] > self.peak:
            found.append("memory")
        if not result["alive"]:
            found.append("worker died")
        return found


def attack(
    template: Template, chosen: Attack, seconds: float, cgroup: Path | None = None
) -> Result:
    """Run one attack against a new worker; return what was measured."""
    with template.site(chosen.settings, cgroup) as site:
        rest = site.memory()
        here, there = multiprocessing.Pipe()
        attackers = multiprocessing.get_context("fork").Process(
            target=_attack, args=(there, site.port, template, chosen, seconds), daemon=True
        )
        attackers.start()
        assert here.recv() == "ready"
        meter = Meter(site, template.victims, template.victims_room, chosen.beside, seconds)
        meter.start()
        time.sleep(QUIET_SECONDS)
        here.send("go")
        got = here.recv()
        meter.stop()
        attackers.join(5)
        attackers.kill()
        return {
            "family": chosen.family,
            "name": chosen.name,
            "times": {name: times.json() for name, times in meter.times.items()},
            "rest": round(rest / 2**20, 1),
            "peak": round(meter.peak / 2**20, 1),
            "holds": holds[0][0] if (holds := site.holds()) else 0,
            "longest": holds[:3],
            "got": dict(Counter(got).most_common(4)),
            "alive": site.is_same_worker(),
        }


def _attack(
    pipe: Connection, port: int, template: Template, chosen: Attack, seconds: float
) -> None:
    # A process of its own: whoever measures must not wait for the interpreter.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # Linux shares the processor between sessions first, and only then by niceness.
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))
    # Hashes have a low priority as well, and would share one processor with us.
    with suppress(AttributeError):  # macOS
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    scene = Scene(port, template.people, template.room)
    actions = chosen.begin(scene)
    pipe.send("ready")
    pipe.recv()
    scene.until = time.monotonic() + seconds
    threads = [threading.Thread(target=_quietly, args=(each,), daemon=True) for each in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, scene.until - time.monotonic()) + 0.2)
        if time.monotonic() > scene.until + 1:
            break
    pipe.send({key: number for key, number in scene.got.items() if number})
    os._exit(0)


def _quietly(action: Any) -> None:
    with suppress(OSError):
        action()


# The table


def table(results: Sequence[Result], before: Mapping[str, Result], bounds: Bounds) -> str:
    """Return the results as Markdown, beside those of another release if there are some."""
    first = ["attack", "what"]
    columns = ["chat p50", "p99", "worst", "health p50", "p99", "worst", "peak MiB", "loop", "also"]
    header = [*first, *columns]
    if before:
        header += ["before: p99", "worst", "peak MiB", "also"]
    rows = [[*header, "verdict"], ["---"] * 2 + ["---:"] * (len(header) - 2) + ["---"]]
    for result in results:
        chat, health = result["times"]["chat"], result["times"]["health"]
        row = [
            result["family"],
            result["name"],
            *(f"{chat[key]:.0f}" for key in ("p50", "p99", "worst")),
            *(f"{health[key]:.0f}" for key in ("p50", "p99", "worst")),
            f"{result['peak']:.0f}",
            f"{result['holds']:.0f}",
            _also(result),
        ]
        if before:
            row += _before(before.get(f"{result['family']}/{result['name']}"))
        row.append(", ".join(bounds.broken(result)) or "ok")
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _also(result: Result) -> str:
    return "; ".join(
        f"{name} {times['p50']:.0f}/{times['p99']:.0f}/{times['worst']:.0f}"
        + (f", {times['failed']} failed" if times["failed"] else "")
        for name, times in result["times"].items()
        if name not in ("chat", "health")
    )


def _before(result: Result | None) -> list[str]:
    if result is None:
        return [""] * 4
    both = [result["times"]["chat"], result["times"]["health"]]
    peak = f"{result['peak']:.0f}" if result["alive"] else f"{result['peak']:.0f}, died"
    return [
        *(f"{max(each[key] for each in both):.0f}" for key in ("p99", "worst")),
        peak,
        _also(result),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        1 if a bound was broken, or else 0.
    """
    parser = argparse.ArgumentParser(prog="bench.attacks", description=__doc__)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="what to serve")
    parser.add_argument("--seconds", type=float, default=4.0, help="that an attack lasts")
    parser.add_argument(
        "--only", default="", help="comma list of beginnings: 1,4 memory,8 time/5 MB of noise"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "attacks.json")
    parser.add_argument("--cgroup", type=Path, help="what the server runs in, to limit its memory")
    parser.add_argument("--before", type=Path, help="results of another release")
    options = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = tuple(
        f"{each} " if each.isdigit() else each for each in options.only.split(",") if each
    )
    chosen = [
        each for each in all_attacks() if f"{each.family}/{each.name}".startswith(wanted or "")
    ]
    bounds = Bounds()
    results: list[Result] = []
    before: dict[str, Result] = {}
    if options.before:
        before = {
            f"{it['family']}/{it['name']}": it for it in json.loads(options.before.read_text())
        }
    template = Template(options.checkout.resolve())
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for each in chosen:
        # Twenty logins take longer than one attack.
        seconds = options.seconds * (3 if each.beside == "login" else 1)
        result = attack(template, each, seconds, options.cgroup)
        results.append(result)
        options.output.write_text(json.dumps(results, ensure_ascii=False, indent=1))
        print(table([result], {}, bounds).splitlines()[-1], result["got"], flush=True)
    shown = table(results, before, bounds)
    options.output.with_suffix(".md").write_text(f"{shown}\n")
    print(f"\n{shown}\n\nWritten: {options.output}")
    return int(any(map(bounds.broken, results)))


if __name__ == "__main__":
    sys.exit(main())
