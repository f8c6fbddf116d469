"""A machine of its own for the commands of the documentation, which are run as they are written.

It is this machine with namespaces of its own (mounts, network, processes): what the commands write to
/etc, /srv, /var, /home and /root is gone afterwards, its ports are its own, and nothing outlives it.
The commands run as root with real users, folders, PostgreSQL, Redis, nginx and Caddy. What cannot be
real there has a substitute, and this table has all of them.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import unavailable
from tests.docs.blocks import Block
from tests.proxies import clone
from tests.servers import ROOT

PROGRAMS = {
    "apt-get": "downloads nothing; starts PostgreSQL and Redis, as Debian does after an installation",
    "certbot": "makes a certificate that nobody trusts",
    "docker": "runs what Dockerfile and compose.yaml say, without a container",
    "systemctl": "runs the commands of the shipped units as their user, without PID 1",
    "systemd-run": "runs a command as another user with the settings of a file",
}
"""Programs in `tests/docs/programs` that come before those of the machine."""

TEXTS = {
    r"<this repository>": "/origin",
    r"^make run\b.*$": "make run & until curl -sf http://127.0.0.1:8000/readyz; do sleep 0.1; done",
    r"^make (bench|bench-quick)\b": r"make --dry-run \1",
    r"^(make test-quick|\.venv/bin/python -m pytest)\b": r"PYTEST_ADDOPTS='--collect-only -qq' \1",
}
"""Commands that go on for ever or take an hour, and the address of the repository."""

# The packages are those of the tests, linked into each clone, in place of a download.
HOOK = """#!/bin/sh
[ -e .venv ] && exit
mkdir .venv
ln -s {prefix}/bin {prefix}/lib .venv/
cp {prefix}/pyvenv.cfg .venv/
touch -d 2000-01-01 requirements*.txt
touch .venv/installed .venv/installed-dev
"""

SETUP = """
set -eu
for folder in etc srv var home root run; do
    mkdir -p {folder}/layers/$folder/upper {folder}/layers/$folder/work
done
for folder in etc srv var home root; do
    layers={folder}/layers/$folder
    mount -t overlay overlay -o lowerdir=/$folder,upperdir=$layers/upper,workdir=$layers/work /$folder
done
mount -t tmpfs tmpfs /run
mkdir /run/lock /run/user
chmod 755 /root    # Python may be there, and other users run it
mount --bind {origin} {origin}
mkdir -p /srv && ln -s {origin} /srv/origin
ip link set lo up
cd /
"""


@dataclass
class Machine:
    """Commands, run one after the other on one machine.

    Args:
        steps: Blocks, and the test's own commands between them.
    """

    steps: list[tuple[str, str]] = field(default_factory=list)

    def run(self, *blocks: Block, before: str = "") -> None:
        """Run blocks of the documentation.

        Args:
            before: The reader's steps that the text around the blocks describes.
        """
        for block in blocks:
            self.steps.append((block.where, before + substituted(block.text)))

    def check(self, commands: str) -> None:
        """Run commands of the test, which fail if something is not as it was promised."""
        self.steps.append(("check", commands))

    def execute(self, seconds: float = 240) -> str:
        """Run all steps; return what they print.

        Raises:
            AssertionError: One of them failed.
        """
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            unavailable("root, for namespaces")
        with tempfile.TemporaryDirectory(prefix="beseda-machine-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            script = folder / "script"
            script.write_text(self._script(folder))
            done = subprocess.run(
                [
                    *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
                    *("--mount-proc", "bash", str(script)),
                ],
                env={
                    "PATH": f"{folder}/programs:{os.environ['PATH']}:/usr/sbin:/sbin",
                    "HOME": "/root",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=seconds,
                check=False,
            )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def _script(self, folder: Path) -> str:
        shutil.copytree(ROOT / "tests" / "docs" / "programs", folder / "programs")
        origin = make_origin(folder)
        lines = [SETUP.format(folder=folder, origin=origin)]
        lines.append(f"export GIT_TEMPLATE_DIR={folder}/template GIT_CONFIG_NOSYSTEM=1")
        for where, commands in self.steps:
            text = commands.replace("/origin", str(origin))
            lines.append(f"echo {shlex.quote(f'--- {where}')}")
            lines.append(
                f"bash -euo pipefail -c {shlex.quote('cd /root' + chr(10) + text)} || exit 1"
            )
        return "\n".join(lines)


def substituted(text: str) -> str:
    """Return a block with what `TEXTS` puts in place of some of its commands."""
    for pattern, replacement in TEXTS.items():
        text = re.sub(pattern, replacement, text, flags=re.M)
    return text


def make_origin(folder: Path) -> Path:
    """Make the repository that the commands clone, and what a clone needs to work here."""
    origin = clone(folder / "origin")
    tests = subprocess.run(
        ["git", "ls-files", "-z", "tests"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, tests.split("\0")):
        if (ROOT / name).is_file():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, origin / name)
    hooks = folder / "template" / "hooks"
    hooks.mkdir(parents=True)
    hook = hooks / "post-checkout"
    hook.write_text(HOOK.format(prefix=sys.prefix))
    hook.chmod(0o755)
    git(origin, "init", "--quiet", "--initial-branch=main")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "Release")
    return origin


def git(folder: Path, *arguments: str) -> None:
    """Run git as the maintainers."""
    identity = ("-c", "user.name=Beseda", "-c", "user.email=beseda@example.com")
    command: Sequence[str] = ("git", *identity, *arguments)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
