"""What a test run that is killed leaves behind: no process, no folder, no database."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.alone import Turns
from tests.delivery.machines import none_lives, wait_for
from tests.servers import ROOT
from tests.services import Databases

# A run that has started a process with a child, made a folder and a database, and now waits.
RUN = """
import subprocess, sys, tempfile, time
from pathlib import Path
from tests import processes
from tests.services import Databases

folder = Path(tempfile.mkdtemp())
processes.remove_at_end(folder)
database = Databases(sys.argv[1]).create()
shell = processes.start(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
print(shell.pid, shell.stdout.readline().strip(), folder, database.rpartition("/")[2], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_run_leaves_nothing(databases: Databases, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, databases.server_url],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout
        shell, child, folder, database = run.stdout.readline().split()
        assert Path(folder).exists()
        assert database in names(databases)

        run.send_signal(number)

    wait_for(lambda: none_lives([int(shell), int(child)]), 10, "its processes are gone")
    wait_for(lambda: not Path(folder).exists(), 10, "its folder is gone")
    wait_for(lambda: database not in names(databases), 10, "its database is gone")


def test_databases_of_a_run_that_is_gone_are_dropped_and_others_stay(databases: Databases) -> None:
    ours = databases.create().rpartition("/")[2]
    with psycopg.connect(databases.server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE beseda_tests_00000000_1")

    Databases(databases.server_url).close()

    assert "beseda_tests_00000000_1" not in names(databases)
    assert ours in names(databases)


def names(databases: Databases) -> set[str]:
    with psycopg.connect(databases.server_url) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def is_free(path: Path) -> bool:
    with path.open("w") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def test_test_marked_alone_and_the_others_wait_for_each_other() -> None:
    one, other = Turns("a-run-of-this-test"), Turns("a-run-of-this-test")
    seen: list[str] = []

    def wait_to_be_alone() -> None:
        with other.take(alone=True):
            seen.append("alone")

    thread = threading.Thread(target=wait_to_be_alone)
    with one.take(alone=False):
        thread.start()
        wait_for(lambda: not is_free(one.gate), 10, "the other one waits")
        assert seen == []
    with one.take(alone=False):  # whoever waits to be alone is not passed by
        seen.append("not alone")
    thread.join(10)
    one.close()
    other.close()

    assert seen == ["alone", "not alone"]


def test_turn_is_kept_from_one_test_that_is_alone_to_the_next() -> None:
    one, other = Turns("another-run-of-this-test"), Turns("another-run-of-this-test")
    seen: list[str] = []

    def wait_for_the_turn() -> None:
        with other.take(alone=False):
            seen.append("not alone")

    thread = threading.Thread(target=wait_for_the_turn)
    with one.take(alone=True, keep=True):
        thread.start()
        wait_for(lambda: not is_free(one.gate), 10, "the other one waits")
    with one.take(alone=True):
        seen.append("alone")
    thread.join(10)
    one.close()
    other.close()

    assert seen == ["alone", "not alone"]
