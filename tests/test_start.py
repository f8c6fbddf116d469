"""How Beseda is started: by every command that we document, on Linux and as on macOS."""

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from app.cli.demo import BESIDE
from tests import processes
from tests.factories import log_in, make_person
from tests.proxies import PROCFILE
from tests.servers import ROOT, Server, free_port
from tests.talk import chat_path, hear, open_socket, send_text

pytestmark = pytest.mark.server

BIN = Path(sys.executable).parent
# The environment of the tests is installed; make must not install it once more.
MAKE_RUN = ["make", "--old-file=.venv/installed", f"BIN={BIN}", "run"]


def commands() -> dict[str, list[str]]:
    """Return what starts the service, by where it is documented."""
    (service,) = yaml.safe_load((ROOT / "render.yaml").read_text())["services"]
    image = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.M)[-1]
    unit = (ROOT / "deploy" / "beseda.service").read_text().replace("/srv/beseda/.venv/bin/", "")
    before, start = (
        re.findall(rf"^{name}=(.*)$", unit, re.M)[0] for name in ("ExecStartPre", "ExecStart")
    )
    return {
        "make run": MAKE_RUN,
        "Procfile": ["sh", "-c", PROCFILE["web"]],
        "render.yaml": ["sh", "-c", service["startCommand"]],
        "Dockerfile": json.loads(image),
        "beseda.service": ["sh", "-c", f"{before} && exec {start}"],
    }


@pytest.mark.parametrize("where", commands())
@pytest.mark.parametrize(
    ("name", "value"),
    [("WEB_CONCURRENCY", "two"), ("PORT", "http"), ("DATABASE_URL", "mysql://h/d")],
)
def test_wrong_setting_is_named_by_every_command_that_starts(
    tmp_path: Path, where: str, name: str, value: str
) -> None:
    env = Server(tmp_path).env | {name: value}
    env["PATH"] = f"{BIN}:{env['PATH']}"

    done = subprocess.run(
        commands()[where],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert f"  {name}=" in done.stderr
    assert "expected" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def started(command: list[str], server: Server) -> Iterator[Server]:
    """Run a command that serves, and end it as Ctrl-C does."""
    with server.log.open("ab") as log:
        process = processes.start(command, cwd=ROOT, env=server.env, stdout=log, stderr=log)
    try:
        server.process = process
        server.wait_ready()
        yield server
    finally:
        server.process = None
        process.send_signal(signal.SIGTERM)
        process.wait(10)


# macOS, as far as a Linux can look like it: what the Python of a stock Mac answers.
MAC = """
import os, resource, select, sys

os.environ["_PYTHON_SYSCONFIGDATA_NAME"] = f"_sysconfigdata__linux_{sys.implementation._multiarch}"
sys.platform = "darwin"
INFINITY = 2**63 - 1
limits = [256, INFINITY]


def setrlimit(_what, wanted):
    # setrlimit(2): "no longer accepts rlim_cur = RLIM_INFINITY for RLIM_NOFILE"
    if wanted[0] > 61_440:
        raise ValueError("current limit exceeds maximum limit")
    limits[:] = wanted


def setpriority(*_):
    raise ProcessLookupError(3, "No such process")  # a thread is no process there


resource.RLIM_INFINITY = INFINITY
resource.getrlimit = lambda _what: tuple(limits)
resource.setrlimit = setrlimit
os.setpriority = setpriority
for module, names in (
    (os, ("sched_getaffinity", "fdatasync", "posix_fadvise", "posix_fallocate", "memfd_create")),
    (os, ("pidfd_open", "eventfd", "splice", "copy_file_range", "getrandom")),
    (select, ("epoll",)),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
access = os.access
os.access = lambda path, *more, **named: path != "/dev/shm" and access(path, *more, **named)
with open(os.environ["AS_ON_A_MAC"], "a") as note:
    note.write("x")
"""
SCPROXY = "_get_proxies = _get_proxy_settings = lambda: {}\n"  # which urllib asks on a Mac


def test_make_run_serves_as_on_macos(tmp_path: Path) -> None:
    modules = tmp_path / "mac"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(MAC)
    (modules / "_scproxy.py").write_text(SCPROXY)
    server = Server(tmp_path, {"PYTHONPATH": str(modules), "AS_ON_A_MAC": str(tmp_path / "note")})

    with started(MAKE_RUN, server):
        ann, bob = make_person(server.url), make_person(server.url)
        room = ann.open_room(bob)
        with open_socket(f"{server.url}{chat_path(room['name'])}", log_in(ann).bearer) as ws:
            send_text(ws, "from a Mac")
            assert hear(ws)["content"] == "from a Mac"
        assert httpx.get(f"{server.url}/", headers={"Accept": "text/html"}).status_code == 200

    log = server.log.read_text()
    assert (tmp_path / "note").read_text()
    assert "Traceback" not in log
    assert '"level":"ERROR"' not in log
    assert "too few for SOCKETS_MAX" in log  # 10,240 descriptors, of which HTTP keeps a quarter


# Where it listens


def can_connect(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 5) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def test_where_there_is_no_ipv6_it_listens_on_ipv4(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import socket\nsocket.has_ipv6 = False\n")
    server = Server(tmp_path, {"PYTHONPATH": str(tmp_path)})
    server.migrate()
    server.env["PATH"] = f"{BIN}:{server.env['PATH']}"

    with started(["sh", "-c", PROCFILE["web"]], server):
        assert can_connect("127.0.0.1", server.port)
        assert not can_connect("::1", server.port)


# In one line


def test_make_demo_and_run_in_one_line_serves_a_second_one(tmp_path: Path) -> None:
    settings = dict(each.split("=", 1) for each in shlex.split(BESIDE) if "=" in each)
    words = [each for each in shlex.split(BESIDE) if "=" not in each]
    assert words == ["make", "demo", "run"]
    server = Server(tmp_path)
    server.port = free_port()
    server.env |= settings | {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'demo.db'}",
        "PORT": str(server.port),
    }

    with started([*MAKE_RUN[:-1], *words[1:]], server):
        answer = httpx.post(
            f"{server.url}/accounts/api/token/",
            json={"username": "anna", "password": "yourpassword"},
        )
        assert answer.status_code == 200, answer.text
    assert f"Open http://127.0.0.1:{server.port}/ and log in as anna" in server.log.read_text()
