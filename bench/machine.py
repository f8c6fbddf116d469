"""What the machine says of processes: their time on a CPU, their memory; and where they run."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = CPUS[0], CPUS[-1]


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Let what is started in the block run on one CPU, for all of its life."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(root: int) -> list[int]:
    """Return a process and all that it has started, directly or not."""
    started = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            started[int(_stat(int(folder.name))[1])].append(int(folder.name))
    found = [root]
    for pid in found:
        found += started[pid]
    return found


def cpu_seconds(root: int) -> float:
    """Return how long a process and all that it has started were on a CPU, the ended ones too."""
    ticks = 0
    for pid in family(root):
        with suppress(OSError):
            # utime, stime, cutime, cstime; the last two are of children that have ended.
            ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / TICKS


def memory_bytes(root: int) -> int:
    """Return the resident memory of a process and all that it has started."""
    kilobytes = 0
    for pid in family(root):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            if found := re.search(r"VmRSS:\s+(\d+) kB", status):
                kilobytes += int(found[1])
    return 1024 * kilobytes


def _stat(pid: int) -> list[str]:
    # `pid (name) state ppid …`, and the name may hold anything; so the first is the state.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Reading(NamedTuple):
    """What the clocks showed at a moment.

    Attributes:
        at: The moment.
        own: Seconds of this process, which makes the load.
        cpus: Busy seconds of the server's CPU and of ours, whoever used them.
        parts: Seconds of each part of the server.
    """

    at: float
    own: float
    cpus: tuple[float, float]
    parts: dict[str, float]


class Meter:
    """Reads the clocks of a server's parts.

    Args:
        parts: Name (`app`, `database`, `redis`) to process id.
    """

    def __init__(self, parts: dict[str, int]) -> None:
        self._parts = parts

    def read(self) -> Reading:
        """Look at all clocks."""
        times = os.times()
        return Reading(
            monotonic(),
            times.user + times.system,
            (_busy(SERVER_CPU), _busy(LOAD_CPU)),
            {name: cpu_seconds(pid) for name, pid in self._parts.items()},
        )

    def memory(self) -> int:
        """Return the application's resident memory."""
        return memory_bytes(self._parts["app"])


class Spent(NamedTuple):
    """What happened on the CPUs between two readings.

    Attributes:
        seconds: How long it was.
        client: Our share of our CPU.
        strangers: The share that others had of the server's CPU, and of ours.
        parts: Seconds of each part of the server.
    """

    seconds: float
    client: float
    strangers: tuple[float, float]
    parts: dict[str, float]

    @classmethod
    def between(cls, one: Reading, other: Reading) -> "Spent":
        seconds = other.at - one.at
        own = other.own - one.own
        parts = {name: other.parts[name] - one.parts[name] for name in one.parts}
        here, there = (after - before for before, after in zip(one.cpus, other.cpus, strict=True))
        if SERVER_CPU == LOAD_CPU:
            here = there = here - own - sum(parts.values())
        else:
            here, there = here - sum(parts.values()), there - own
        return cls(
            seconds,
            own / seconds,
            (max(0.0, here / seconds), max(0.0, there / seconds)),
            parts,
        )


def _busy(cpu: int) -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{cpu}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS
    raise LookupError(cpu)
