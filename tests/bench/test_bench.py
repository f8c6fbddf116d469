"""`make bench-quick`, at a size where it measures nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.contestants import CONTESTANTS
from bench.plan import BY_KEY, SCENARIOS
from tests.conftest import unavailable
from tests.delivery.machines import PostgresServer
from tests.servers import ROOT


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bench with Beseda alone."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "bench", "--size", "tiny", "--servers", "beseda"),
            *("--output", str(folder), *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.long
def test_quick_bench_writes_a_table_and_a_picture(tmp_path: Path) -> None:
    if not PostgresServer.programs():
        unavailable("initdb of PostgreSQL")

    done = run(tmp_path, "--scenarios", "chat-postgresql,chat-sqlite,rest,fanout,opening")

    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert [each["scenario"] for each in runs] == [
        "chat-postgresql",
        "chat-sqlite",
        "rest",
        "fanout",
        "opening",
    ]
    assert all(each["outcome"]["faults"] == {} for each in runs)
    assert all(value > 0 for each in runs[:2] for value in each["outcome"]["figures"].values())
    table = (tmp_path / "report.md").read_text()
    assert table in done.stdout
    assert table.count("| answers | ok |") == 5
    assert BY_KEY["chat-postgresql"].title in (tmp_path / "report.svg").read_text()


def test_unknown_names_are_refused_with_those_that_there_are(tmp_path: Path) -> None:
    done = run(tmp_path, "--scenarios", "chat-postgresql,chess")

    assert done.returncode == 2
    assert "unknown: chess" in done.stderr


def test_every_scenario_has_contestants_that_there_are() -> None:
    known = {each.key for each in CONTESTANTS}

    assert all(set(each.contestants) <= known for each in SCENARIOS)
