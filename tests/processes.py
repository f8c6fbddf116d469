"""Processes, databases and folders that end with the test run, however the run ends.

Tests start lasting processes with `start`. A small watcher process reads a pipe from pytest. Pytest
writes there what it has made; when pytest ends (also by SIGTERM or SIGKILL) the pipe closes, and the
watcher removes what is left.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_watcher: subprocess.Popen[str] | None = None


def start(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process in a process group of its own, which is killed when the test run ends.

    Args:
        command: The program and its arguments.
        options: Of `subprocess.Popen`.
    """
    process = subprocess.Popen(command, start_new_session=True, **options)
    _tell("+", "process", f"{process.pid}:{_started(process.pid)}")
    return process


def remove_at_end(folder: Path) -> None:
    """Remove a folder when the test run ends, if it is still there."""
    _tell("+", "folder", str(folder))


def drop_at_end(server_url: str, database: str) -> None:
    """Drop a PostgreSQL database when the test run ends, if it is still there.

    Args:
        server_url: A database of the same server to which one may connect meanwhile.
        database: The name of the database.
    """
    _tell("+", "database", f"{database} {server_url}")


def forget_database(server_url: str, database: str) -> None:
    """Forget a database that is dropped already."""
    _tell("-", "database", f"{database} {server_url}")


def tidy_up() -> None:
    """Remove now what is left of this run."""
    global _watcher
    if _watcher is not None:
        _watcher.communicate()
        _watcher = None


def _tell(sign: str, kind: str, value: str) -> None:
    global _watcher
    if _watcher is None:
        _watcher = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
    assert _watcher.stdin
    _watcher.stdin.write(f"{sign}{kind} {value}\n")
    _watcher.stdin.flush()


def _started(pid: int) -> str:
    """Return when a process started, in ticks since boot; empty if it is gone.

    A process id alone is not enough: another process may have it by the end of the run.
    """
    try:
        # `pid (name) state …`; the name may hold anything, and the start is the 22nd field.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _watch() -> None:
    """Read what the test run has made until it ends, then remove it."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    made: dict[str, None] = {}
    for line in sys.stdin:
        thing = line[1:].rstrip("\n")
        if line[0] == "+":
            made[thing] = None
        else:
            made.pop(thing, None)
    for thing in reversed(made):
        kind, _, value = thing.partition(" ")
        _REMOVERS[kind](value)


def _kill(value: str) -> None:
    pid, _, started = value.partition(":")
    # A group lives on when its first process has ended; its id is not given away before.
    if _started(int(pid)) in ("", started):
        with suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)


def _remove(value: str) -> None:
    shutil.rmtree(value, ignore_errors=True)


def _drop(value: str) -> None:
    import psycopg  # most runs have dropped their databases themselves
    from psycopg.sql import SQL, Identifier

    name, _, url = value.partition(" ")
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


_REMOVERS = {"process": _kill, "folder": _remove, "database": _drop}

if __name__ == "__main__":
    _watch()
