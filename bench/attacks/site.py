"""A server of this checkout or of another one, with people in it; and what its worker takes."""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from bench.attacks.kit import Account
from tests import apps, processes
from tests.delivery.machines import children
from tests.servers import free_port

PASSWORD = "a good password 1"
PEOPLE = 20
CROWD = 1_000  # more people, whom nobody knows the passwords of
MESSAGES = 1_000
MESSAGE = "😀" * 10_000
POSTS = 300
POST = "😀" * 20_000
START_SECONDS = 30


class Site:
    """A running worker.

    Args:
        checkout: What is served; it has a virtual environment in `.venv`.
        folder: Where the database and the pictures are.
        settings: Its environment.
        cgroup: A control group that it runs in, with a limit on memory perhaps.
    """

    def __init__(
        self,
        checkout: Path,
        folder: Path,
        settings: Mapping[str, str],
        cgroup: Path | None = None,
    ) -> None:
        self.cgroup = cgroup
        self.checkout = checkout
        self.folder = folder
        self.port = free_port()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PORT": str(self.port),
            "DATABASE_URL": apps.sqlite_url(folder),
            "JWT_SECRET_KEY": apps.SECRET_KEY,
            "JWT_ACCESS_TOKEN_EXPIRES": "36000",  # longer than any bench
            "MEDIA_ROOT": str(folder / "media"),
            "METRICS_TOKEN": "metrics-of-the-bench",
            "PYTHONPATH": str(Path(__file__).parent / "watch"),
            "LONG_HOLDS": str(folder / "holds"),
        } | dict(settings)
        self.worker = 0
        self._process: subprocess.Popen[Any] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def python(self, *arguments: str) -> list[str]:
        """Return a command of the checkout's environment."""
        return [str(self.checkout / ".venv" / "bin" / "python"), "-m", *arguments]

    def migrate(self) -> None:
        """Make the tables."""
        done = subprocess.run(
            self.python("flask", "--app", "wsgi", "db", "upgrade"),
            cwd=self.checkout,
            env=self.env,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def __enter__(self) -> Self:
        bind = ("-c", "gunicorn.conf.py", "--bind", f"127.0.0.1:{self.port}", "wsgi:app")
        enter = f"echo $$ > {self.cgroup}/cgroup.procs; " if self.cgroup else ""
        with (self.folder / "server.log").open("ab") as log:
            self._process = processes.start(
                ["sh", "-c", enter + 'exec "$@"', "sh", *self.python("gunicorn", *bind)],
                cwd=self.checkout,
                env=self.env,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    break
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-4000:]
            time.sleep(0.05)
        (self.worker,) = children(self._process.pid)
        (self.folder / "holds").unlink(missing_ok=True)  # of the start
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(8)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def is_same_worker(self) -> bool:
        """Tell whether the worker that was started lives."""
        assert self._process
        return self.worker in children(self._process.pid)

    def memory(self) -> int:
        """Return the bytes of the worker and of its children, who share some, at this moment."""
        return _resident(self.worker) + sum(map(_private, children(self.worker)))

    def holds(self) -> list[tuple[float, str]]:
        """Return the milliseconds of CPU that something held the loop, and what, longest first."""
        with suppress(FileNotFoundError):
            lines = (self.folder / "holds").read_text().splitlines()
            return sorted(
                ((each["ms"], each["where"]) for each in map(json.loads, lines)), reverse=True
            )
        return []

    def peak(self) -> int:
        """Return the most bytes that the worker itself had."""
        return _status(self.worker, "VmHWM")


def _resident(pid: int) -> int:
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    return 0


def _private(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
    return 0


def _status(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


class Template:
    """A folder with people, rooms, messages and posts, of which each attack gets a copy.

    Attributes:
        people: Attackers.
        room: Of the first two; it has many long messages.
        victims: Two who chat while others attack, and one who logs in.
        victims_room: Of the first two of them.
    """

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.folder = Path(tempfile.mkdtemp(prefix="beseda-attacks-"))
        processes.remove_at_end(self.folder)
        with _unlimited(checkout, self.folder) as site, httpx.Client(base_url=site.url) as http:
            self._client = http
            self.people = [self._join(f"eve{number}") for number in range(PEOPLE)]
            self.victims = [self._join(name) for name in ("ann", "bob", "cat")]
            self.room = self._room(self.people[0], "eve1")
            self.victims_room = self._room(self.victims[0], "bob")
            self._join("one")
            with closing(sqlite3.connect(self.folder / "beseda.db", timeout=20)) as database:
                _copy_people(database)
            for number in range(CROWD):
                self._room(self.people[2], f"crowd{number}")
            messages = f"/messenger/api/chatrooms/{quote(self.room)}/messages/"
            for _ in range(MESSAGES):
                self._post(messages, self.people[0], content=MESSAGE)
            for _ in range(POSTS):
                self._post("/profiles/api/posts/", self.people[0], title="t", content=POST)

    def _post(self, path: str, who: Account | None, **body: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {who.access}"} if who else {}
        answer = self._client.post(path, json=body, headers=headers, timeout=30)
        assert answer.is_success, answer.text
        result: dict[str, Any] = json.loads(answer.text)
        return result

    def _join(self, name: str) -> Account:
        email = f"{name}@example.com"
        self._post("/accounts/api/users/", None, username=name, email=email, password=PASSWORD)
        tokens = self._post("/accounts/api/token/", None, username=name, password=PASSWORD)
        return Account(name, email, tokens["access"], tokens["refresh"])

    def _room(self, who: Account, other: str) -> str:
        room = self._post("/messenger/api/chatrooms/", who, recipient=other)
        return str(room["name"])

    def site(self, settings: Mapping[str, str], cgroup: Path | None = None) -> Site:
        """Return a server, not started, on a copy of all this."""
        folder = Path(tempfile.mkdtemp(prefix="beseda-attacked-"))
        processes.remove_at_end(folder)
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Site(self.checkout, folder, settings, cgroup)


def _unlimited(checkout: Path, folder: Path) -> Site:
    site = Site(checkout, folder, {"RATELIMIT_ENABLED": "false"})
    site.migrate()
    return site


def _copy_people(database: sqlite3.Connection) -> None:
    # As the row of somebody, whatever columns this release has: by the API each takes a hash.
    columns = [str(row[1]) for row in database.execute("PRAGMA table_info(users)")]
    kept = [each for each in columns if each != "id"]
    (row,) = database.execute(f"SELECT {', '.join(kept)} FROM users WHERE username = 'one'")
    rows: Sequence[Sequence[object]] = [
        [
            f"crowd{number}" + (value[3:] if "@" in str(value) else "")
            if isinstance(value, str) and value.startswith("one")
            else value
            for value in row
        ]
        for number in range(CROWD)
    ]
    marks = ", ".join("?" * len(kept))
    database.executemany(f"INSERT INTO users ({', '.join(kept)}) VALUES ({marks})", rows)
    database.commit()
