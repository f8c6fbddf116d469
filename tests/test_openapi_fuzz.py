"""Schemathesis asks a real server thousands of things, and finds nothing to complain of."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.factories import make_person
from tests.servers import ROOT, Server

pytestmark = pytest.mark.long

SESSION_IDS_FROM = 1_000_000  # a number that is made up does not end the session in use


def test_nothing_is_found(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        for name in ("user1", "user2", "jane_doe", "username"):  # whom the examples speak of
            make_person(server.url, name)
        with closing(sqlite3.connect(tmp_path / "beseda.db", isolation_level=None)) as database:
            moved = "UPDATE sqlite_sequence SET seq = ? WHERE name = 'sessions'"
            database.execute(moved, [SESSION_IDS_FROM])

        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(Path(__file__).parent / "openapi" / "schemathesis.toml")),
                *("run", f"{server.url}/api/openapi.json"),
                *("--max-examples", "20", "--seed", "1"),  # so it is the same each time
                "--no-color",
            ],
            cwd=tmp_path,  # where it leaves its notes
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "SERVER": server.url,
                "SOMEBODY": "user1",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=900,  # where others are at work
        )
        log = server.log.read_text()

    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) > 1000
    assert '"status":200' in log
    assert '"level":"ERROR"' not in log
