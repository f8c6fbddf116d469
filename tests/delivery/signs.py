"""What a server shows of itself: which worker holds which socket, its numbers, its log."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from tests.servers import Server

METRICS_TOKEN = "of-the-tests-and-long-enough-for-a-server"
_ESTABLISHED = "01"


def holders(server: Server, pids: Iterable[int]) -> dict[int, int]:
    """Return which process holds the server's end of a connection, by its client's port.

    Source: proc_pid_net(5); numbers are hexadecimal.
    """
    ports: dict[str, int] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        if state == _ESTABLISHED and int(local.rpartition(":")[2], 16) == server.port:
            ports[f"socket:[{inode}]"] = int(remote.rpartition(":")[2], 16)
    held: dict[int, int] = {}
    for pid in pids:
        with suppress(OSError):  # it may end meanwhile
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if port := ports.get(str(descriptor.readlink())):
                        held[port] = pid
    return held


def numbers(servers: Sequence[Server]) -> Mapping[str, float]:
    """Return what servers publish for Prometheus, summed over their workers and all labels."""
    sums: Counter[str] = Counter()
    for server in servers:
        bearer = {"Authorization": f"Bearer {METRICS_TOKEN}"}
        answer = httpx.get(f"{server.url}/metrics", headers=bearer, timeout=10)
        assert answer.status_code == 200, answer.text
        for line in answer.text.splitlines():
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                sums[series.partition("{")[0]] += float(value)
    return sums


def readiness(server: Server) -> str:
    """Return what a worker of a server says of itself: ok, degraded, or why it cannot serve."""
    answer = httpx.get(f"{server.url}/readyz", timeout=10).json()
    return str(answer.get("status") if "code" not in answer else answer["code"])


class LogReader:
    """Reads what servers log from now on.

    Args:
        servers: Which.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._begins = {server.log: server.log.stat().st_size for server in servers}

    def complaints(self, expected: str | None = None) -> list[str]:
        """Return the lines that tell of a defect: errors, tracebacks, and what is no line of ours.

        Args:
            expected: A pattern of what may be complained of.
        """
        found = []
        for log, begin in self._begins.items():
            with log.open("rb") as file:
                file.seek(begin)
                lines = file.read().decode().splitlines()
            found += [line for line in lines if _complains(line)]
        return [line for line in found if expected is None or not re.search(expected, line)]


def _complains(line: str) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return True
    return event["level"] in ("ERROR", "CRITICAL") or "traceback" in event
