"""Real server processes for tests: gunicorn with the gevent worker, on a port of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests import apps, processes

ROOT = Path(__file__).parent.parent
START_SECONDS = 30
STARTED: set[Path] = set()  # the logs of all servers of this run
may_start = True  # whether the present test may start a server


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running Beseda.

    Args:
        folder: Where its database, pictures and log go.
        settings: Its environment; the default is that of `make run` on a fresh machine, but
            without limits, because all people of the tests come from one address.

    Attributes:
        home: Where its commands are run.
    """

    home = ROOT

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "server.log"
        # A clean environment: what this machine sets must not decide a test.
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PORT": str(self.port),
            "DATABASE_URL": apps.sqlite_url(folder),
            "JWT_SECRET_KEY": apps.SECRET_KEY,
            "MEDIA_ROOT": str(folder / "media"),
            "RATELIMIT_ENABLED": "false",
        } | dict(settings or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers HTTP, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where it answers WebSockets, without a slash at the end."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def web(self) -> list[str]:
        """The command that serves, as the Procfile's `web`."""
        return [
            *(sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"),
            *("--bind", f"127.0.0.1:{self.port}", "wsgi:app"),
        ]

    def migrate(self) -> None:
        """Create the tables, in this process, which takes no time."""
        apps.migrate(self.env["DATABASE_URL"])

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        assert may_start, "a test that starts a server has to be marked: @pytest.mark.server"
        STARTED.add(self.log)
        with self.log.open("ab") as log:
            self.process = processes.start(
                self.web, cwd=self.home, env=self.env, stdout=log, stderr=log
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End the process as a platform would, and then as it would if that did not help.

        It has 5 seconds, as is promised.
        """
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError("the server did not stop within 5 s") from None
        finally:
            self.process = None

    def __enter__(self) -> Self:
        self.migrate()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
