"""How gunicorn is set up: on other systems, and when it is asked to load anew."""

import json
import os
import resource
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from app import threads
from tests.servers import ROOT, Server


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


@pytest.mark.alone
@pytest.mark.server
def test_reload_makes_nobody_wait(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert server.process is not None
        seconds: list[float] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                began = time.monotonic()
                # A connection each, as a new one must be accepted as well.
                assert httpx.get(f"{server.url}/healthz", timeout=10).status_code == 200
                seconds.append(time.monotonic() - began)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for each in asking:
            each.start()
        before = workers_of(server)
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while workers_of(server) & before or not workers_of(server):
            assert time.monotonic() < deadline, "the old worker did not leave"
            time.sleep(0.05)
        time.sleep(0.5)
        stop.set()
        for each in asking:
            each.join()

    # The new worker takes over a second to load; before, that was what everybody waited.
    assert max(seconds) < 0.9, sorted(seconds)[-5:]


def workers_of(server: Server) -> set[int]:
    """Return the worker processes that are there now."""
    assert server.process is not None
    task = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return {int(pid) for pid in task.read_text().split()}


def test_response_that_is_cut_off_is_logged(tmp_path: Path, server: Server) -> None:
    # The client hangs up in the middle of a large response.
    with httpx.Client(base_url=server.url) as client:
        size = server.log.stat().st_size
        with client.stream("GET", "/api/docs/swagger-ui-bundle.js") as response:
            request_id = response.headers["X-Request-ID"]
            next(response.iter_raw(1000))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with server.log.open("rb") as log:
            log.seek(size)
            lines = [json.loads(line) for line in log if line.startswith(b"{")]
        if any(
            line.get("request_id") == request_id and "cut off" in line["message"] for line in lines
        ):
            return
        time.sleep(0.1)
    raise AssertionError("not logged")
