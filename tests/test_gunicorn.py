"""How gunicorn is set up: on other systems, and when it is asked to load anew."""

import json
import os
import resource
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from app import threads
from tests.factories import make_person
from tests.servers import ROOT, Server
from tests.talk import messages_path


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A machine whose limit of descriptors is as a stock Mac has it; returns what was set."""
    limits: list[tuple[int, int]] = []
    infinity = 2**63 - 1
    fake = ModuleType("resource")

    def setrlimit(_what: int, wanted: tuple[int, int]) -> None:
        # setrlimit(2): "no longer accepts rlim_cur = RLIM_INFINITY for RLIM_NOFILE"; the kernel's
        # own limit (kern.maxfilesperproc) is often 61,440.
        if wanted[0] > 61_440:
            raise ValueError("current limit exceeds maximum limit")
        limits.append(wanted)

    fake.__dict__.update(
        RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
        RLIM_INFINITY=infinity,
        getrlimit=lambda _what: (256, infinity),
        setrlimit=setrlimit,
    )
    monkeypatch.setitem(sys.modules, "resource", fake)
    monkeypatch.setattr(sys, "platform", "darwin")
    return limits


def test_starts_where_unlimited_descriptors_are_refused(
    mac: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'beseda.db'}")
    monkeypatch.setenv("JWT_SECRET_KEY", "a secret of the tests, not of yours")

    settings = runpy.run_path(str(ROOT / "gunicorn.conf.py"))

    assert mac == [(10_240, 2**63 - 1)]
    assert settings["worker_connections"] == 2560
    assert 0 < settings["_sockets_most"] < 10_240


def test_lowers_no_priority_but_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[Any] = []
    monkeypatch.setattr(os, "setpriority", lambda *how: lowered.append(how))

    monkeypatch.setattr(sys, "platform", "darwin")
    threads._be_nice()
    assert lowered == []

    monkeypatch.setattr(sys, "platform", "linux")
    threads._be_nice()
    assert len(lowered) == 1


class HeldServer(Server):
    """A server whose workers load for as long as a file is there."""

    @property
    def hold(self) -> Path:
        return self.folder / "hold"

    @property
    def web(self) -> list[str]:
        (self.folder / "held.py").write_text(
            "import pathlib, time\n"
            f"while pathlib.Path({str(self.hold)!r}).exists():\n    time.sleep(0.01)\n"
            "from wsgi import app\n"
        )
        return [*super().web[:-1], "--pythonpath", str(self.folder), "held:app"]


@pytest.mark.server
def test_reload_makes_nobody_wait(tmp_path: Path) -> None:
    def ask() -> None:
        # A connection each, as a new one must be accepted as well.
        body = {"content": "x"}
        answer = httpx.post(messages, json=body, headers=ann.bearer, timeout=20)
        assert answer.status_code == 201, answer.text

    with HeldServer(tmp_path) as server:
        assert server.process is not None
        ann, bob = make_person(server.url), make_person(server.url)
        messages = server.url + messages_path(ann.open_room(bob))
        before = workers_of(server)
        server.hold.touch()
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while not workers_of(server) - before:
            ask()
            assert time.monotonic() < deadline, "there is no new worker"
        for _ in range(30):  # the new worker cannot take any of these
            ask()
            time.sleep(0.1)
        assert before < workers_of(server)

        server.hold.unlink()
        while workers_of(server) & before:
            ask()
            assert time.monotonic() < deadline, "the old worker did not leave"
        ask()


def workers_of(server: Server) -> set[int]:
    """Return the worker processes that are there now."""
    assert server.process is not None
    task = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return {int(pid) for pid in task.read_text().split()}


def test_response_that_is_cut_off_is_logged(server: Server) -> None:
    # The client hangs up while it has read nothing of responses that are more than the buffers of
    # the connection hold (4 MB of the server, and of the client what is set here).
    request_id = f"cut.off.{os.getpid()}"
    path = "/api/docs/swagger-ui-bundle.js"
    request = f"GET {path} HTTP/1.1\r\nHost: {server.url}\r\nX-Request-ID: {request_id}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.connect(("127.0.0.1", server.port))
        client.sendall(request.encode() * 20)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")

    deadline = time.monotonic() + 30
    while not any(
        line.get("request_id") == request_id and "cut off" in line["message"]
        for line in map(json.loads, filter(None, server.log.read_text().splitlines()))
    ):
        assert time.monotonic() < deadline, "not logged"
        time.sleep(0.1)
