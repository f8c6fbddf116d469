"""`docs/deploy.md` in hand: Procfile, a proxy with https in front, an upgrade under open sockets."""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websocket import ABNF, WebSocket, WebSocketBadStatusException

from config import Config
from tests.conftest import unavailable
from tests.factories import PASSWORD, new_name
from tests.servers import ROOT, Server, free_port
from tests.talk import chat_path, messages_path

HOST = "chat.example.com"
SECONDS = 20
PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())


class ProcfileServer(Server):
    """Beseda in a copy of the repository, migrated and served by the lines of its Procfile."""

    def __init__(self, copy: Path, settings: Mapping[str, str]) -> None:
        super().__init__(copy, settings)
        self.home = copy
        # Where the virtual environment's programs are: a platform puts them on the PATH.
        self.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.env['PATH']}"

    @property
    def release(self) -> list[str]:
        return shlex.split(PROCFILE["release"])

    @property
    def web(self) -> list[str]:
        return shlex.split(PROCFILE["web"])


@dataclass(frozen=True)
class Site:
    """Beseda as the world sees it: through nginx or Caddy, by https."""

    server: ProcfileServer
    port: int
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.trust, timeout=SECONDS)


def clone(folder: Path) -> Path:
    """Fill a folder with the repository, as a fresh clone has it."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def make_certificate(folder: Path) -> None:
    """Write a certificate for this machine that nobody but this test trusts."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", f"/CN={HOST}"),
            *("-addext", f"subjectAltName=IP:127.0.0.1,DNS:{HOST}"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        capture_output=True,
        check=True,
    )


def adapted(name: str, changes: Mapping[str, str]) -> str:
    """Return a file of `deploy/` with this machine's paths and ports."""
    text = (ROOT / "deploy" / name).read_text()
    for shipped, here in changes.items():
        assert shipped in text
        text = text.replace(shipped, here)
    return text


def configure_nginx(folder: Path, port: int, to_port: int) -> list[str]:
    """Write nginx's files, and return the command that runs it."""
    site = adapted(
        "nginx.conf",
        {
            "127.0.0.1:8000": f"127.0.0.1:{to_port}",
            "listen 80;": f"listen 127.0.0.1:{free_port()};",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            f"/etc/letsencrypt/live/{HOST}/fullchain.pem": str(folder / "cert.pem"),
            f"/etc/letsencrypt/live/{HOST}/privkey.pem": str(folder / "key.pem"),
        },
    )
    (folder / "site.conf").write_text(site)
    temporary = "\n".join(
        f"{kind}_temp_path {folder / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"""
        daemon off;
        worker_processes 1;
        pid {folder / "nginx.pid"};
        error_log {folder / "error.log"};
        events {{ worker_connections 1024; }}
        http {{ {temporary} include {folder / "site.conf"}; }}
    """)
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def configure_caddy(folder: Path, port: int, to_port: int) -> list[str]:
    """Write Caddy's file, and return the command that runs it."""
    site = adapted(
        "Caddyfile",
        {
            "127.0.0.1:8000": f"127.0.0.1:{to_port}",
            f"{HOST} {{": f"https://127.0.0.1:{port} {{\ntls {folder}/cert.pem {folder}/key.pem",
        },
    )
    ours = "admin off\nauto_https disable_redirects\nskip_install_trust"
    (folder / "Caddyfile").write_text(f"{{\n{ours}\n}}\n{site}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


PROXIES = {"nginx": configure_nginx, "caddy": configure_caddy}


@pytest.fixture(scope="module", params=PROXIES)
def site(
    request: pytest.FixtureRequest,
    postgresql_url: str,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    path = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which(request.param, path=path) is None:
        unavailable(request.param)
    settings = {
        "DATABASE_URL": postgresql_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET_KEY": secrets.token_hex(32),
        "WEB_CONCURRENCY": "3",
        "PROXY_HOPS": "1",
    }
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)
    make_certificate(folder)
    with ProcfileServer(clone(tmp_path_factory.mktemp("clone")), settings) as server:
        port = free_port()
        command = PROXIES[request.param](folder, port, server.port)
        proxy = subprocess.Popen(command, env={"PATH": path, "HOME": str(folder)})
        try:
            site = Site(server, port, ssl.create_default_context(cafile=folder / "cert.pem"))
            wait_until_it_answers(site)
            yield site
        finally:
            proxy.terminate()
            try:
                proxy.wait(SECONDS)  # Caddy would wait for its last connection for ever
            finally:
                proxy.kill()


def wait_until_it_answers(site: Site) -> None:
    deadline = time.monotonic() + SECONDS
    with site.client() as client:
        while True:
            try:
                assert client.get("/healthz").status_code == 200
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def log_in(client: httpx.Client, name: str) -> httpx.Response:
    """Register and log in; returns the login's answer."""
    body = {"username": name, "password": PASSWORD}
    created = client.post("/accounts/api/users/", json=body | {"email": f"{name}@example.com"})
    assert created.status_code == 201, created.text
    answer = client.post("/accounts/api/token/", json=body)
    client.headers["Authorization"] = f"Bearer {answer.json()['access']}"
    return answer


@contextmanager
def join(site: Site, client: httpx.Client, room: str, **query: object) -> Iterator[WebSocket]:
    """Open somebody's socket in a room for a while.

    By `websocket-client`: `websockets` reads and writes in two threads, which OpenSSL does not
    allow on one connection, and now and then a handshake hung for as long as the proxy let it.
    """
    url = site.url.replace("https", "wss") + chat_path(room, **query)
    header = {"Authorization": client.headers["Authorization"]}
    socket = WebSocket(sslopt={"context": site.trust})
    socket.settimeout(SECONDS)
    deadline = time.monotonic() + SECONDS
    while not socket.connected:
        try:
            socket.connect(url, header=header, http_no_proxy=["127.0.0.1"])
        except WebSocketBadStatusException as error:  # a worker that leaves says 503
            if error.status_code != 503 or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    try:
        yield socket
    finally:
        socket.close()
        socket.shutdown()  # which close() does not, when the server has closed it


def hear(socket: WebSocket) -> Any:
    return json.loads(socket.recv())


def hear_what_was_missed(site: Site, client: httpx.Client, room: str, last: int) -> Any:
    """Come back as clients do: who meets another worker that is about to leave is closed again."""
    deadline = time.monotonic() + SECONDS
    while True:
        with join(site, client, room, after=last) as socket:
            kind, content = socket.recv_data()
        if kind == ABNF.OPCODE_TEXT:
            return json.loads(content)
        assert int.from_bytes(content[:2]) == 1012
        assert time.monotonic() < deadline


def close_code(socket: WebSocket) -> int:
    """Return the code that the server closes a socket with, and says nothing before."""
    kind, content = socket.recv_data()
    assert kind == ABNF.OPCODE_CLOSE
    return int.from_bytes(content[:2])


def test_through_https_the_cookie_is_secure_and_the_address_is_the_clients(site: Site) -> None:
    with site.client() as client:
        answer = log_in(client, new_name())
        forged = client.get("/accounts/api/sessions/", headers={"X-Forwarded-For": "203.0.113.9"})
        metrics = client.get("/metrics")

    assert "Secure" in answer.headers["Set-Cookie"]
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert [each["address"] for each in forged.json()] == ["127.0.0.1"]
    assert metrics.status_code in (403, 404)


def test_sockets_live_through_an_upgrade(site: Site) -> None:
    copy = site.server.home
    with site.client() as ann, site.client() as bob:
        name = new_name("bob")
        log_in(ann, new_name("ann"))
        log_in(bob, name)
        room = ann.post("/messenger/api/chatrooms/", json={"recipient": name}).json()
        with (
            join(site, ann, room["name"]) as hers,
            join(site, bob, room["name"]) as his,
        ):
            hers.send('{"message": "before"}')
            assert hear(hers) == hear(his)

            # The new release has a setting more, and something that shows it.
            with (copy / "config.py").open("a") as file:
                file.write('\nRELEASE = "the next one"\n')
            with (copy / "wsgi.py").open("a") as file:
                file.write(
                    "\nfrom config import RELEASE\n\n"
                    'app.get("/release")(lambda: {"release": RELEASE})\n'
                )
            assert site.server.process
            site.server.process.send_signal(signal.SIGHUP)

            assert {close_code(hers), close_code(his)} == {1012}
        missed = ann.post(messages_path(room), json={"content": "in between"})
        assert missed.status_code == 201, missed.text
        last = ann.get(messages_path(room)).json()[0]["id"]
        assert hear_what_was_missed(site, bob, room["name"], last)["content"] == "in between"
        wait_for_release(ann, "the next one")
    log = site.server.log.read_text()
    assert "Traceback" not in log
    assert log.count('"message":"GET /release 200"') == 1  # the new workers say all once


def wait_for_release(client: httpx.Client, release: str) -> None:
    deadline = time.monotonic() + SECONDS
    while (answer := client.get("/release")).text != f'{{"release":"{release}"}}':
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def test_the_unit_for_systemd_is_well_formed(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not there: the unit is read where it is")
    unit = (ROOT / "deploy" / "beseda.service").read_text()
    # Its programs are not on this machine.
    (tmp_path / "beseda.service").write_text(unit.replace("/srv/beseda/.venv/bin/", "/bin/"))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "beseda.service")],
        capture_output=True,
        text=True,
        check=False,
    )

    complaints = [
        line
        for line in done.stderr.splitlines()
        if "beseda.service" in line and "is not executable" not in line
    ]
    assert complaints == []


def test_every_setting_of_the_example_is_one() -> None:
    named = re.findall(r"^([A-Z_]+)=", (ROOT / "deploy" / "beseda.env").read_text(), re.M)

    assert named
    assert set(named) <= set(Config.model_fields)
