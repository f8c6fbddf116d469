"""Where contestants run: a PostgreSQL and a Redis of the bench, databases made once and copied."""

import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from bench.contestants import Contestant, Missing
from bench.machine import SERVER_CPU, Meter, on_cpu
from tests.delivery.machines import PostgresServer, RedisServer
from tests.factories import PASSWORD, Person, close_clients, make_person
from tests.servers import Server

SQLITE, POSTGRESQL = "sqlite", "postgresql"
# As on a small machine of its own; all that concerns safety is as it comes.
_POSTGRES_SETTINGS = ("shared_buffers=256MB", "max_connections=200")


@dataclass(frozen=True)
class Member:
    """Somebody in a room."""

    id: int
    username: str
    access: str
    password: str = PASSWORD


@dataclass(frozen=True)
class Room:
    """Two people's chat."""

    id: int
    name: str
    members: tuple[Member, Member]

    @property
    def socket_path(self) -> str:
        return f"/messenger/ws/ws/chat/{self.name}/"

    @property
    def messages_path(self) -> str:
        return f"/messenger/api/chatrooms/{self.name}/messages/"


@dataclass(frozen=True)
class Template:
    """A database with people and rooms in it, to be copied for every round."""

    source: str  # a database's name, or a file
    rooms: Sequence[Room]


@dataclass(frozen=True)
class Stage:
    """A contestant that runs, on a fresh database."""

    contestant: Contestant
    database: str
    server: Server
    rooms: Sequence[Room]
    meter: Meter

    @property
    def port(self) -> int:
        return self.server.port


class Arena:
    """Starts and ends what contestants need.

    Args:
        rooms: How many rooms of two people there are.
    """

    def __init__(self, rooms: int) -> None:
        self._rooms = rooms
        self._stack = ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="beseda-bench-"))
        self._templates: dict[tuple[str, str, int], Template] = {}
        self._postgres: PostgresServer | None = None
        self._redis: RedisServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if error is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            print(f"Logs are kept in {self._folder}")

    @property
    def postgres(self) -> PostgresServer:
        """The bench's own PostgreSQL, started when it is first needed."""
        if self._postgres is None:
            if not PostgresServer.programs():
                raise Missing("no initdb: PostgreSQL is not installed")
            with on_cpu(SERVER_CPU):
                self._postgres = self._stack.enter_context(PostgresServer(_POSTGRES_SETTINGS))
        return self._postgres

    @property
    def redis(self) -> RedisServer:
        """The bench's own Redis, likewise."""
        if self._redis is None:
            if not RedisServer.program():
                raise Missing("no redis-server")
            with on_cpu(SERVER_CPU):
                self._redis = self._stack.enter_context(RedisServer())
        return self._redis

    @contextmanager
    def stage(
        self, contestant: Contestant, database: str, *, workers: int = 1, rows: Sequence[int] = ()
    ) -> Iterator[Stage]:
        """Run a contestant on a copy of its template.

        Args:
            contestant: Who.
            database: `sqlite` or `postgresql`.
            workers: Processes.
            rows: How many messages the first rooms have (PostgreSQL only).
        """
        template = self._template(contestant, database, rows)
        folder = Path(tempfile.mkdtemp(prefix=f"{contestant.key}-{database}-", dir=self._folder))
        source = template.source
        if database == SQLITE:
            source = _copied(source, folder)
        with self._own_database(database, source) as url:
            settings = self._settings(contestant, url) | {"WEB_CONCURRENCY": str(workers)}
            server = contestant.server(folder, settings)
            with on_cpu(SERVER_CPU):
                server.start()
            try:
                yield Stage(
                    contestant, database, server, template.rooms, self._meter(contestant, server)
                )
            finally:
                _stop(server)

    def _meter(self, contestant: Contestant, server: Server) -> Meter:
        assert server.process
        parts = {"app": server.process.pid}
        if not server.env["DATABASE_URL"].startswith(SQLITE):
            parts["database"] = self.postgres.pid
        if contestant.redis:
            parts["redis"] = self.redis.pid
        return Meter(parts)

    def _settings(self, contestant: Contestant, url: str) -> dict[str, str]:
        settings = {"DATABASE_URL": url, **contestant.settings}
        if contestant.redis:
            settings["REDIS_URL"] = self.redis.url
        return settings

    # Databases

    def _template(self, contestant: Contestant, database: str, rows: Sequence[int]) -> Template:
        key = (contestant.family, database, sum(rows))
        if key not in self._templates:
            print(f"  preparing {contestant.name} on {database} …", flush=True)
            folder = Path(tempfile.mkdtemp(prefix="template-", dir=self._folder))
            if database == SQLITE:
                source = str(folder / "beseda.db")
                url = f"sqlite:///{source}"
            else:
                source = f"template_{contestant.family.lower()}_{sum(rows)}"
                self._execute(f"DROP DATABASE IF EXISTS {source}")  # of a turn that broke down
                self._execute(f"CREATE DATABASE {source}")
                url = self._url(source)
            self._templates[key] = Template(source, self._fill(contestant, folder, url, rows))
        return self._templates[key]

    def _fill(
        self, contestant: Contestant, folder: Path, url: str, rows: Sequence[int]
    ) -> list[Room]:
        server = contestant.server(folder, self._settings(contestant, url))
        server.migrate()
        server.start()
        try:
            with ThreadPoolExecutor(2) as pool:
                people = list(
                    pool.map(
                        lambda number: make_person(server.url, f"user{number:04}"),
                        range(2 * self._rooms),
                    )
                )
            pairs = zip(people[::2], people[1::2], strict=True)
            made = [_room(one, other) for one, other in pairs]
            close_clients()
        finally:
            _stop(server)
        if rows:
            _add_rows(contestant, url, made, rows)
        return made

    @contextmanager
    def _own_database(self, database: str, source: str) -> Iterator[str]:
        if database == SQLITE:
            yield f"sqlite:///{source}"
            return
        name = f"round_{secrets.token_hex(4)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        self._execute("CHECKPOINT")  # now, and not while somebody is measured
        try:
            yield self._url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.postgres.port}/{name}"

    def _execute(self, statement: Any) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(statement)


def _copied(source: str, folder: Path) -> str:
    path = str(folder / "beseda.db")
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("VACUUM INTO ?", (path,))
    return path


def _room(one: Person, other: Person) -> Room:
    made = one.open_room(other)
    members = (
        Member(one.id, one.username, one.access),
        Member(other.id, other.username, other.access),
    )
    return Room(made["id"], made["name"], members)


def _add_rows(contestant: Contestant, url: str, rooms: Sequence[Room], rows: Sequence[int]) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for room, count in zip(rooms, rows, strict=False):
            connection.execute(
                text(contestant.rows),
                {
                    "room": room.id,
                    "user": room.members[0].id,
                    "count": count,
                    "text": "Сообщение, каких много, и каждое из них чуть длиннее пятидесяти ",
                },
            )
        if contestant.after_rows:
            connection.execute(text(contestant.after_rows))
        connection.execute(text("VACUUM ANALYZE"))


def _stop(server: Server) -> None:
    # How quickly a peer leaves is not what is measured.
    try:
        server.stop()
    except AssertionError as error:
        print(f"  {error}")
