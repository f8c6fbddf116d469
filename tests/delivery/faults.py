"""What can break, and the stages on which it does."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from tests.delivery.load import EXCUSES
from tests.delivery.machines import (
    PostgresServer,
    RedisServer,
    children,
    none_lives,
    signal_all,
    wait_for,
)
from tests.delivery.proxy import Proxy
from tests.servers import Server

LIVE_SECONDS = 3.0  # the promise: live again so long after a fault
LIVE_AFTER_SILENCE_SECONDS = 10.0  # … where connections died silently
SWEPT_SECONDS = 2.5  # so long may a message take that no other worker was rung for
LEAVE_SECONDS = 10.0  # … and so long may workers outlive their master
FAULT_SECONDS = 1.5  # how long something is away

SETTINGS = {
    "RATELIMIT_ENABLED": "false",
    "JWT_ACCESS_TOKEN_EXPIRES": "86400",  # a long run is no reason to log in again
}


@dataclass
class Stage:
    """Servers that share a database, and what lies below them.

    Attributes:
        admin_url: The database itself, not through its proxy.
    """

    servers: Sequence[Server]
    admin_url: str = ""
    to_database: Proxy | None = None
    to_redis: Proxy | None = None
    postgres: PostgresServer | None = None
    redis: RedisServer | None = None

    @property
    def urls(self) -> list[str]:
        """Where to talk to it."""
        return [server.url for server in self.servers]


def workers(server: Server) -> list[int]:
    """Return the worker processes of a server."""
    return children(master(server))


def master(server: Server) -> int:
    """Return the process that started the workers."""
    assert server.process is not None
    return server.process.pid


def bury(server: Server) -> None:
    """Take note that a server was killed."""
    assert server.process is not None
    server.process.wait(10)
    server.process = None


@contextmanager
def sqlite_stage(folder: Path) -> Iterator[Stage]:
    """Yield one worker on one file."""
    with Server(folder, SETTINGS) as server:
        yield Stage([server])


@contextmanager
def postgresql_stage(
    folder: Path,
    postgres: PostgresServer,
    redis: RedisServer | None = None,
    *,
    machines: int = 1,
    workers: int = 3,
) -> Iterator[Stage]:
    """Yield servers on a new PostgreSQL database; they reach it and the Redis through proxies."""
    with ExitStack() as stack:
        name = f"beseda_{time.monotonic_ns()}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        to_database = stack.enter_context(Proxy("127.0.0.1", postgres.port))
        settings = SETTINGS | {
            "WEB_CONCURRENCY": str(workers),
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{to_database.port}/{name}",
        }
        to_redis = None
        if redis is not None:
            to_redis = stack.enter_context(Proxy("127.0.0.1", redis.port))
            settings["REDIS_URL"] = f"redis://127.0.0.1:{to_redis.port}/0"
        servers = []
        for number in range(machines):
            (own := folder / str(number)).mkdir()
            servers.append(stack.enter_context(Server(own, settings)))
        admin_url = f"postgresql://postgres@127.0.0.1:{postgres.port}/{name}"
        yield Stage(servers, admin_url, to_database, to_redis, postgres, redis)


@dataclass(frozen=True)
class Fault:
    """Something that breaks and is mended again.

    Attributes:
        strike: Does both; returns when it is mended.
        seconds: How long it may take until all is live again.
        excuses: What clients may have been told meanwhile instead of an echo.
    """

    strike: Callable[[Stage], None]
    seconds: float = LIVE_SECONDS
    excuses: frozenset[str | int] = EXCUSES

    def __str__(self) -> str:
        return self.strike.__name__


# Processes


def worker_is_killed(stage: Stage) -> None:
    for server in stage.servers:
        os.kill(random.choice(workers(server)), signal.SIGKILL)
        server.wait_ready()


def all_are_killed(stage: Stage) -> None:
    for server in stage.servers:
        # The master first, or it would start new ones.
        every = [master(server), *workers(server)]
        signal_all(every, signal.SIGKILL)
        wait_for(partial(none_lives, every), 10, "the killed are dead")
        bury(server)
        server.start()


def master_is_killed(stage: Stage) -> None:
    for server in stage.servers:
        orphans = workers(server)
        os.kill(master(server), signal.SIGKILL)
        bury(server)
        wait_for(
            partial(none_lives, orphans),
            LEAVE_SECONDS,
            "workers whose master was killed leave",
        )
        server.start()


def workers_are_renewed(stage: Stage) -> None:
    for server in stage.servers:
        before = workers(server)
        os.kill(master(server), signal.SIGHUP)
        wait_for(partial(none_lives, before), 10, "SIGHUP ends the old workers")
        server.wait_ready()


def server_is_restarted(stage: Stage) -> None:
    for server in stage.servers:
        server.stop()
        server.start()


# PostgreSQL


def backends_are_terminated(stage: Stage) -> None:
    with psycopg.connect(stage.admin_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def database_is_unreachable(stage: Stage) -> None:
    assert stage.to_database
    stage.to_database.refuse()
    time.sleep(FAULT_SECONDS)
    stage.to_database.accept()


def database_falls_silent(stage: Stage) -> None:
    assert stage.to_database
    stage.to_database.silence()
    time.sleep(FAULT_SECONDS)
    stage.to_database.resume()


def database_connections_die_silently(stage: Stage) -> None:
    assert stage.to_database
    stage.to_database.strand()


def database_crashes(stage: Stage) -> None:
    assert stage.postgres
    stage.postgres.stop(signal.SIGQUIT)
    stage.postgres.start()


def database_is_restarted(stage: Stage) -> None:
    assert stage.postgres
    stage.postgres.stop()
    stage.postgres.start()


def database_stands_still(stage: Stage) -> None:
    assert stage.postgres
    stage.postgres.pause()
    time.sleep(FAULT_SECONDS)
    stage.postgres.go_on()


# Redis


def redis_is_killed(stage: Stage) -> None:
    assert stage.redis
    stage.redis.kill()
    time.sleep(FAULT_SECONDS)
    stage.redis.start()


def redis_is_restarted_empty(stage: Stage) -> None:
    assert stage.redis
    stage.redis.kill()
    stage.redis.start()


def redis_stands_still(stage: Stage) -> None:
    assert stage.redis
    stage.redis.pause()
    time.sleep(FAULT_SECONDS)
    stage.redis.go_on()


def redis_drops_subscribers(stage: Stage) -> None:
    assert stage.redis
    with stage.redis.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def redis_falls_silent(stage: Stage) -> None:
    assert stage.to_redis
    stage.to_redis.silence()
    time.sleep(FAULT_SECONDS)
    stage.to_redis.resume()


def redis_connections_die_silently(stage: Stage) -> None:
    assert stage.to_redis
    stage.to_redis.strand()


WORKER_IS_KILLED = Fault(worker_is_killed)
ALL_ARE_KILLED = Fault(all_are_killed)
MASTER_IS_KILLED = Fault(master_is_killed)
WORKERS_ARE_RENEWED = Fault(workers_are_renewed)
SERVER_IS_RESTARTED = Fault(server_is_restarted)
PROCESS_FAULTS = [
    WORKER_IS_KILLED,
    ALL_ARE_KILLED,
    MASTER_IS_KILLED,
    WORKERS_ARE_RENEWED,
    SERVER_IS_RESTARTED,
]

BACKENDS_ARE_TERMINATED = Fault(backends_are_terminated)
DATABASE_IS_UNREACHABLE = Fault(database_is_unreachable)
DATABASE_FALLS_SILENT = Fault(database_falls_silent, LIVE_AFTER_SILENCE_SECONDS)
DATABASE_CONNECTIONS_DIE_SILENTLY = Fault(
    database_connections_die_silently, LIVE_AFTER_SILENCE_SECONDS
)
DATABASE_CRASHES = Fault(database_crashes)
DATABASE_IS_RESTARTED = Fault(database_is_restarted)
DATABASE_STANDS_STILL = Fault(database_stands_still)
DATABASE_FAULTS = [
    BACKENDS_ARE_TERMINATED,
    DATABASE_IS_UNREACHABLE,
    DATABASE_FALLS_SILENT,
    DATABASE_CONNECTIONS_DIE_SILENTLY,
    DATABASE_CRASHES,
    DATABASE_IS_RESTARTED,
    DATABASE_STANDS_STILL,
]

# Redis away is never a reason for an error.
REDIS_FAULTS = [
    Fault(strike, excuses=frozenset())
    for strike in (
        redis_is_killed,
        redis_is_restarted_empty,
        redis_stands_still,
        redis_drops_subscribers,
        redis_falls_silent,
        redis_connections_die_silently,
    )
]
