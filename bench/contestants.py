"""Who takes part: Beseda and its peers, and how each is installed, started and filled."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import ROOT, Server

PEERS = ROOT / "bench" / "peers"
VENVS = ROOT / "bench" / ".venvs"


class Missing(Exception):
    """What a contestant needs is not there; the text says what."""


class Peer(Server):
    """A server that is not this code, and makes its tables by a command of its own."""

    @property
    def release(self) -> Sequence[str]:
        """The command that does it."""
        raise NotImplementedError

    def migrate(self) -> None:
        """Create the tables."""
        _run(*self.release, cwd=self.home, env=self.env)


class FlaskNaive(Peer):
    """A tutorial on Flask: flask-sock, Flask-SQLAlchemy, under gunicorn's gevent worker."""

    home = PEERS / "flask_naive"

    @property
    def release(self) -> list[str]:
        return [program(self.home, "flask"), "--app", "app", "create-tables"]

    @property
    def web(self) -> list[str]:
        return [
            *(program(self.home, "gunicorn"), "--worker-class", "gevent"),
            *("--workers", self.env.get("WEB_CONCURRENCY", "1"), "--worker-connections", "20000"),
            *("--no-control-socket", "--bind", f"127.0.0.1:{self.port}", "app:app"),
        ]


class DjangoChannels(Peer):
    """Django, REST Framework and Channels, under uvicorn."""

    home = PEERS / "django_channels"

    @property
    def release(self) -> list[str]:
        return [program(self.home, "python"), "manage.py", "migrate"]

    @property
    def web(self) -> list[str]:
        return [
            *(program(self.home, "uvicorn"), "asgi:application", "--port", str(self.port)),
            *("--workers", self.env.get("WEB_CONCURRENCY", "1"), "--no-access-log"),
        ]


class FastApi(Peer):
    """FastAPI, async SQLAlchemy, and asyncpg or aiosqlite, under uvicorn."""

    home = PEERS / "fastapi"

    @property
    def release(self) -> list[str]:
        return [program(self.home, "python"), "app.py", "create-tables"]

    @property
    def web(self) -> list[str]:
        return [
            *(program(self.home, "uvicorn"), "app:app", "--port", str(self.port)),
            *("--workers", self.env.get("WEB_CONCURRENCY", "1"), "--no-access-log"),
            *("--loop", "uvloop", "--http", "httptools"),
        ]


class Node(Peer):
    """fastify, ws, and pg or better-sqlite3."""

    home = PEERS / "node"

    @property
    def release(self) -> list[str]:
        return ["node", "server.js", "migrate"]

    @property
    def web(self) -> list[str]:
        return ["node", "server.js"]


def program(home: Path, name: str) -> str:
    """Return a program of a peer's virtual environment."""
    return str(VENVS / home.name / "bin" / name)


# How rows get into a table without the API: `:room` and `:user` are ids, `:count` how many, and
# `:text` stands in each.
_ROWS = """
    INSERT INTO {table} (room_id, user_id, content, timestamp)
    SELECT :room, :user, :text || number, {now}
    FROM generate_series(1, :count) AS number
"""


@dataclass(frozen=True)
class Contestant:
    """A server in one of the ways in which it can be run.

    Attributes:
        name: In tables.
        key: On the command line.
        server: Its process.
        settings: Its environment.
        redis: Whether it has one.
        rows: SQL of PostgreSQL that adds messages to a room.
        after_rows: SQL that makes that right.
        has_streams: Whether its clients open one stream, and not a socket for each room.
    """

    name: str
    key: str
    server: type[Server]
    settings: Mapping[str, str] = field(default_factory=dict)
    redis: bool = False
    rows: str = _ROWS.format(table="messages", now="now()")
    after_rows: str = ""
    has_streams: bool = False

    @property
    def family(self) -> str:
        """What shares its tables."""
        return self.server.__name__


_SETTINGS = {"RATELIMIT_ENABLED": "false", "JWT_ACCESS_TOKEN_EXPIRES": "86400"}
_BESEDA_LAST_IDS = """
    UPDATE chat_rooms SET last_message_id =
        COALESCE((SELECT max(id) FROM messages WHERE room_id = chat_rooms.id), 0)
"""
_DJANGO_ROWS = _ROWS.format(table="chat_message", now="now()")

CONTESTANTS = [
    Contestant(
        "Beseda", "beseda", Server, _SETTINGS, after_rows=_BESEDA_LAST_IDS, has_streams=True
    ),
    Contestant("Beseda, a socket for each room", "beseda-rooms", Server, _SETTINGS),
    Contestant("Beseda, Redis", "beseda-redis", Server, _SETTINGS, redis=True),
    # Where nobody listens. Only to see what a bus costs: on PostgreSQL there always is one.
    Contestant(
        "Beseda, no bus",
        "beseda-no-bus",
        Server,
        _SETTINGS | {"REDIS_URL": "redis://127.0.0.1:9/0"},
    ),
    Contestant("Flask tutorial", "flask", FlaskNaive),
    Contestant("Django Channels", "django", DjangoChannels, rows=_DJANGO_ROWS),
    Contestant(
        "Django Channels, pool",
        "django-pool",
        DjangoChannels,
        {"CONNECTIONS": "pool"},
        rows=_DJANGO_ROWS,
    ),
    Contestant(
        "Django Channels, Redis",
        "django-redis",
        DjangoChannels,
        {"CHANNEL_LAYER": "redis"},
        redis=True,
        rows=_DJANGO_ROWS,
    ),
    Contestant(
        "Django Channels, Redis pub/sub",
        "django-pubsub",
        DjangoChannels,
        {"CHANNEL_LAYER": "pubsub"},
        redis=True,
        rows=_DJANGO_ROWS,
    ),
    Contestant("FastAPI", "fastapi", FastApi),
    Contestant(
        "Node",
        "node",
        Node,
        rows=_ROWS.format(
            table="messages",
            now="to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
        ),
    ),
]
BY_KEY = {each.key: each for each in CONTESTANTS}


def _install_python(home: Path) -> None:
    # Of the same Python as ours, so that no peer is slower for its interpreter.
    venv = VENVS / home.name
    wanted = (home / "requirements.txt").read_text()
    done = venv / "installed.txt"
    if done.exists() and done.read_text() == wanted:
        return
    print(f"Installing {home.name}", flush=True)
    _run(sys.executable, "-m", "venv", "--clear", str(venv))
    pip = (program(home, "python"), "-m", "pip", "install", "--quiet")
    _run(*pip, "-r", str(home / "requirements.txt"))
    done.write_text(wanted)


def _install_node(home: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        raise Missing("node and npm are not installed")
    wanted = (home / "package-lock.json").read_text()
    done = home / "node_modules" / "installed.json"
    if done.exists() and done.read_text() == wanted:
        return
    print(f"Installing {home.name}", flush=True)
    _run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=home)
    done.write_text(wanted)


_INSTALL: Mapping[type[Server], Callable[[Path], None]] = {
    FlaskNaive: _install_python,
    DjangoChannels: _install_python,
    FastApi: _install_python,
    Node: _install_node,
}


def install(contestant: Contestant) -> None:
    """Bring what a contestant needs into folders of its own.

    Raises:
        Missing: It cannot be had here.
    """
    if brings := _INSTALL.get(contestant.server):
        brings(contestant.server.home)


def _run(*command: str, cwd: Path = ROOT, env: Mapping[str, str] = os.environ) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
