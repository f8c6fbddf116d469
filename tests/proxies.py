"""Beseda in a copy of the repository, behind nginx or Caddy with the files of `deploy/`."""

import os
import shlex
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests import processes
from tests.conftest import unavailable
from tests.servers import ROOT, Server, free_port

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

    def migrate(self) -> None:
        subprocess.run(shlex.split(PROCFILE["release"]), cwd=self.home, env=self.env, check=True)

    @property
    def web(self) -> list[str]:
        return ["sh", "-c", PROCFILE["web"]]


@dataclass(frozen=True)
class Site:
    """Beseda as the world sees it: through nginx or Caddy, by https."""

    server: ProcfileServer
    port: int
    trust: ssl.SSLContext
    folder: Path

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
            "listen [::]:80;": "",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "listen [::]:443 ssl;": "",
            f"/etc/letsencrypt/live/{HOST}/fullchain.pem": str(folder / "cert.pem"),
            f"/etc/letsencrypt/live/{HOST}/privkey.pem": str(folder / "key.pem"),
        },
    )
    (folder / "site.conf").write_text(site)
    temporary = "\n".join(
        f"{kind}_temp_path {folder / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Where root starts it, it would become somebody who may not write to the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"""
        {user}
        daemon off;
        worker_processes 1;
        pid {folder / "nginx.pid"};
        error_log {folder / "error.log"};
        events {{ worker_connections 1024; }}
        http {{ access_log {folder / "access.log"}; {temporary} include {folder / "site.conf"}; }}
    """)
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def configure_caddy(folder: Path, port: int, to_port: int) -> list[str]:
    """Write Caddy's file, and return the command that runs it."""
    site = adapted(
        "Caddyfile",
        {
            "127.0.0.1:8000": f"127.0.0.1:{to_port}",
            "\n{\n\t#": "\n{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\t#",
            f"{HOST} {{": f"https://127.0.0.1:{port} {{\ntls {folder}/cert.pem {folder}/key.pem",
        },
    )
    (folder / "Caddyfile").write_text(site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


PROXIES = {"nginx": configure_nginx, "caddy": configure_caddy}


@contextmanager
def proxied(kind: str, server: ProcfileServer, folder: Path) -> Iterator[Site]:
    """Put a proxy in front of a server for a while; its output is in `proxy.log` of the folder."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which(kind, path=path) is None:
        unavailable(kind)
    folder.chmod(0o755)
    make_certificate(folder)
    port = free_port()
    command = PROXIES[kind](folder, port, server.port)
    with (folder / "proxy.log").open("wb") as log:
        proxy = processes.start(
            command, env={"PATH": path, "HOME": str(folder)}, stdout=log, stderr=log
        )
    try:
        site = Site(server, port, ssl.create_default_context(cafile=folder / "cert.pem"), folder)
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
