"""What can break, and the stages on which it does."""

import os
import random
import signal
import socket
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from tests.delivery import machines, raw, signs
from tests.delivery.load import UNREACHABLE, Load, SocketWriter
from tests.delivery.machines import (
    PostgresServer,
    RedisServer,
    children,
    none_lives,
    signal_all,
    wait_for,
)
from tests.delivery.proxy import Proxy, mute
from tests.servers import Server

LIVE_SECONDS = 3.0  # the promise: live again so long after a fault
LIVE_AFTER_SILENCE_SECONDS = 10.0  # … where connections died silently
RECONCILED_SECONDS = 2.5  # a message may take so long if no publication reached the other worker
RUNG_SECONDS = 12.0  # until the bus is back as well: the 10 s from above, and a look at it
LEAVE_SECONDS = 10.0  # … and so long may workers outlive their master

# How long something is away. What is noticed at once may be short; what is not has to last longer
# than the timers that notice it: 2 s for Redis, 2.5 s for a bus, 3 s for an answer of PostgreSQL.
GONE_SECONDS = 1.5
SILENT_SECONDS = 4.0
STILL_POSTGRES_SECONDS = 5.0
STILL_REDIS_SECONDS = 10.0

# What clients may be told, and how their sockets may be closed (1006: without a code).
NOBODY_THERE: frozenset[str | int] = frozenset((UNREACHABLE,))
ON_THE_WAY_OUT: frozenset[str | int] = frozenset((503,))
NO_DATABASE: frozenset[str | int] = frozenset(("database_unavailable", "outcome_unknown", 503))
TORN = frozenset((1006,))
RESTARTING = frozenset((1012,))

WAITING = '"level":"WARNING",.* waits for the database"'  # what the log may say, cause and all

SPREAD_TRIES = 30
NUMBERS_SECONDS = 1.5  # how old numbers are compared with new ones; they are at most 1 s old
FLOW_MESSAGES = 20  # so many have to flow meanwhile
READ_SHARE = 0.1  # of them may be read by workers instead; without a bus it would be all

at_least_seconds = 0.0  # how long everything is away; a long run has more time than a test

SETTINGS = {
    "RATELIMIT_ENABLED": "false",
    "METRICS_TOKEN": signs.METRICS_TOKEN,
    "JWT_ACCESS_TOKEN_EXPIRES": "86400",  # a long run is no reason to log in again
}


@dataclass
class Stage:
    """Servers that share a database, and what lies below them.

    Attributes:
        admin_url: The database itself, not through a proxy.
        ways_to_database: A proxy for each server.
        ways_to_redis: Likewise; none where there is no Redis.
        load: Who talks there at the moment.
        abandoned: Ends of clients that nobody will hear of again, to be closed with the stage.
    """

    servers: Sequence[Server]
    admin_url: str = ""
    ways_to_database: Sequence[Proxy] = ()
    ways_to_redis: Sequence[Proxy] = ()
    postgres: PostgresServer | None = None
    redis: RedisServer | None = None
    load: Load | None = None
    abandoned: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        """Let abandoned clients go."""
        while self.abandoned:
            self.abandoned.pop().close()

    @property
    def urls(self) -> list[str]:
        """Where to talk to it."""
        return [server.url for server in self.servers]

    @property
    def to_database(self) -> Proxy | None:
        """The one proxy, where there is one server on a PostgreSQL."""
        return self.ways_to_database[0] if len(self.ways_to_database) == 1 else None


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
    with Server(folder, SETTINGS) as server, closing(Stage([server])) as stage:
        yield stage


@contextmanager
def postgresql_stage(
    folder: Path,
    postgres: PostgresServer,
    redis: RedisServer | None = None,
    *,
    machines: int = 1,
    workers: int = 3,
) -> Iterator[Stage]:
    """Yield servers on a new PostgreSQL database; each reaches it and the Redis by its own proxies."""
    with ExitStack() as stack:
        name = f"beseda_{time.monotonic_ns()}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        servers, ways_to_database, ways_to_redis = [], [], []
        for number in range(machines):
            way = Proxy("127.0.0.1", postgres.port, is_postgresql=True)
            ways_to_database.append(stack.enter_context(way))
            settings = SETTINGS | {
                "WEB_CONCURRENCY": str(workers),
                "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{way.port}/{name}",
            }
            if redis is not None:
                ways_to_redis.append(way := stack.enter_context(Proxy("127.0.0.1", redis.port)))
                settings["REDIS_URL"] = f"redis://127.0.0.1:{way.port}/0"
            (own := folder / str(number)).mkdir()
            servers.append(stack.enter_context(Server(own, settings)))
        admin_url = f"postgresql://postgres@127.0.0.1:{postgres.port}/{name}"
        yield stack.enter_context(
            closing(Stage(servers, admin_url, ways_to_database, ways_to_redis, postgres, redis))
        )


@dataclass(frozen=True)
class Fault:
    """Something that breaks and is mended again.

    Attributes:
        strike: Does both; returns when it is mended.
        seconds: How long it may take until all is live again.
        excuses: What clients may have been told meanwhile instead of an echo.
        farewells: The codes with which their sockets may have been closed.
        logged: A pattern of the errors that may have been logged.
    """

    strike: Callable[[Stage], None]
    seconds: float = LIVE_SECONDS
    excuses: frozenset[str | int] = frozenset()
    farewells: frozenset[int] = frozenset()
    logged: str | None = None

    def __str__(self) -> str:
        return self.strike.__name__


def bus_of(stage: Stage) -> str:
    """Return by what the workers publish to each other: notify, redis, or neither for all of them."""
    count = sum(len(workers(server)) for server in stage.servers)
    with psycopg.connect(stage.admin_url, autocommit=True) as connection:
        ((listeners,),) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN %'"
        )
    subscribers = []  # of each installation that shares the Redis
    if stage.redis is not None:
        with stage.redis.client() as client:
            channels = client.pubsub_channels("beseda:*")
            subscribers = [number for _, number in client.pubsub_numsub(*channels)]
    if listeners == count and not subscribers:
        return "notify"
    return "redis" if listeners == 0 and count in subscribers else "neither"


def play(stage: Stage, fault: Fault, load: Load) -> float:
    """Let a fault strike while people talk, and wait until all is as it was before.

    Returns:
        How long it took until everybody heard what was said after the fault.
    """
    stage.load = load
    spread(stage, load)
    fault.strike(stage)
    seconds = load.wait_until_live(fault.seconds)
    if stage.ways_to_database:
        # Reconciliation alone may have delivered everything: the bus has to come back as well.
        spread(stage, load, fault.seconds)
        wait_until_rung(stage)
    return seconds


def spread(stage: Stage, load: Load, seconds: float = LIVE_SECONDS) -> None:
    """Let people dial until those of a room are with several workers, on each server.

    Workers share a listener, and nothing says who takes a connection. If one took all, no
    message would ever cross a bus. Each time they may take so long to hear again.
    """
    for _ in range(SPREAD_TRIES):
        if all(is_spread(server, load) for server in stage.servers):
            return
        load.redial()
        load.wait_until_live(seconds)
    raise AssertionError(f"{SPREAD_TRIES} times one worker took all sockets")


def is_spread(server: Server, load: Load) -> bool:
    """Tell whether somebody hears by one worker what is said by another, if there is another."""
    pids = workers(server)
    held = signs.holders(server, pids)
    by_room = defaultdict(set)
    for ear in load.ears:
        if ear.url == server.url and ear.port in held:
            by_room[ear.room].add((held[ear.port], isinstance(ear, SocketWriter)))
    return len(pids) == 1 or any(
        speaker != listener
        for seats in by_room.values()
        for speaker, is_writer in seats
        for listener, _ in seats
        if is_writer
    )


def wait_until_rung(stage: Stage, seconds: float = RUNG_SECONDS) -> None:
    """Wait until workers hear of each other's messages by the bus, and not from the database.

    Args:
        stage: Where people talk.
        seconds: How long it may take.
    """
    deadline = time.monotonic() + seconds * machines.patience
    seen: list[tuple[float, Mapping[str, float]]] = []
    while True:
        now, last = time.monotonic(), signs.numbers(stage.servers)
        seen.append((now, last))
        # Workers publish their numbers once a second, so these are of the time after `then`.
        first = next((each for then, each in reversed(seen) if now - then >= NUMBERS_SECONDS), last)
        stored = last["beseda_messages_stored_total"] - first["beseda_messages_stored_total"]
        read = last["beseda_messages_filled_total"] - first["beseda_messages_filled_total"]
        is_healthy = last["beseda_bus_healthy"] == len(stage.servers)
        if is_healthy and stored >= FLOW_MESSAGES and read < stored * READ_SHARE:
            return
        assert now < deadline, (
            f"bus not back within {seconds} s: well {is_healthy}, {stored} messages, {read} read"
        )
        time.sleep(0.2)


def integrity(server: Server) -> str:
    """Return what SQLite says of a server's file: ok."""
    with closing(sqlite3.connect(server.folder / "beseda.db")) as connection:
        (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
    return str(answer)


def hold(seconds: float) -> None:
    """Leave things as they are for a while, or for longer where all take longer."""
    time.sleep(max(seconds, at_least_seconds))


def for_all(ways: Sequence[Proxy], act: Callable[[Proxy], None]) -> None:
    """Do something with all proxies, of which there are some."""
    assert ways
    for way in ways:
        act(way)


# Processes


def worker_is_killed(stage: Stage) -> None:
    for server in stage.servers:
        os.kill(random.choice(workers(server)), signal.SIGKILL)
        server.wait_ready()


def all_are_killed(stage: Stage) -> None:
    for server in stage.servers:
        kill_all(server)
        server.start()


def kill_all(server: Server) -> None:
    # The master first, or it would start new ones.
    every = [master(server), *workers(server)]
    signal_all(every, signal.SIGKILL)
    wait_for(partial(none_lives, every), 10, "the killed are dead")
    bury(server)


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
        # They accept until all the new ones have loaded, for 30 s at most, and then drain.
        wait_for(partial(none_lives, before), 40, "SIGHUP ends the old workers")
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
    for_all(stage.ways_to_database, Proxy.refuse)
    hold(GONE_SECONDS)
    for_all(stage.ways_to_database, Proxy.accept)


def database_falls_silent(stage: Stage) -> None:
    for_all(stage.ways_to_database, Proxy.silence)
    hold(SILENT_SECONDS)
    for_all(stage.ways_to_database, Proxy.resume)


def database_connections_die_silently(stage: Stage) -> None:
    for_all(stage.ways_to_database, Proxy.strand)


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
    hold(STILL_POSTGRES_SECONDS)
    stage.postgres.go_on()


# Redis


def redis_is_killed(stage: Stage) -> None:
    assert stage.redis
    stage.redis.kill()
    hold(GONE_SECONDS)
    stage.redis.start()


def redis_is_restarted_empty(stage: Stage) -> None:
    assert stage.redis
    stage.redis.kill()
    stage.redis.start()


def redis_is_flushed(stage: Stage) -> None:
    assert stage.redis
    with stage.redis.client() as client:
        client.flushall()


def redis_stands_still(stage: Stage) -> None:
    assert stage.redis
    stage.redis.pause()
    hold(STILL_REDIS_SECONDS)
    stage.redis.go_on()


def redis_drops_subscribers(stage: Stage) -> None:
    assert stage.redis
    with stage.redis.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def redis_falls_silent(stage: Stage) -> None:
    for_all(stage.ways_to_redis, Proxy.silence)
    hold(SILENT_SECONDS)
    for_all(stage.ways_to_redis, Proxy.resume)


def redis_connections_die_silently(stage: Stage) -> None:
    for_all(stage.ways_to_redis, Proxy.strand)


# Clients


def clients_are_reset(stage: Stage) -> None:
    assert stage.load
    stage.load.redial(resets=True)


def clients_stop(stage: Stage) -> None:
    stopped = _strangers(stage)
    hold(SILENT_SECONDS)
    for end in stopped:
        raw.reset(end)


def clients_fall_silent(stage: Stage) -> None:
    silent = _strangers(stage)
    stage.abandoned += silent
    for end in silent:
        mute(end)


def _strangers(stage: Stage) -> list[socket.socket]:
    # Sockets of the people of each room that ask for all, and of which nothing is read.
    assert stage.load
    return [
        raw.shake_hands(replace(person, url=url), room, after=0, receive_bytes=4096)
        for room, person in stage.load.owners.items()
        for url in stage.urls
    ]


# One of two machines


@contextmanager
def machine_is_dead(stage: Stage) -> Iterator[None]:
    server = stage.servers[0]
    kill_all(server)
    try:
        yield
    finally:
        server.start()


@contextmanager
def machine_has_no_database(stage: Stage) -> Iterator[None]:
    stage.ways_to_database[0].refuse()
    try:
        yield
    finally:
        stage.ways_to_database[0].accept()


@contextmanager
def machine_has_no_redis(stage: Stage) -> Iterator[None]:
    stage.ways_to_redis[0].refuse()
    try:
        yield
    finally:
        stage.ways_to_redis[0].accept()


def machine_is_killed(stage: Stage) -> None:
    with machine_is_dead(stage):
        hold(GONE_SECONDS)


def machine_loses_database(stage: Stage) -> None:
    with machine_has_no_database(stage):
        hold(GONE_SECONDS)


def machine_loses_redis(stage: Stage) -> None:
    with machine_has_no_redis(stage):
        hold(GONE_SECONDS)


WORKER_IS_KILLED = Fault(
    worker_is_killed, excuses=NOBODY_THERE, farewells=TORN, logged="was sent SIGKILL"
)
ALL_ARE_KILLED = Fault(all_are_killed, excuses=NOBODY_THERE, farewells=TORN)
MASTER_IS_KILLED = Fault(
    master_is_killed, excuses=NOBODY_THERE | ON_THE_WAY_OUT, farewells=RESTARTING
)
# Its listener stays, but a worker that leaves may close a connection on which the next request is
# on its way already.
WORKERS_ARE_RENEWED = Fault(
    workers_are_renewed, excuses=NOBODY_THERE | ON_THE_WAY_OUT, farewells=RESTARTING
)
SERVER_IS_RESTARTED = Fault(
    server_is_restarted, excuses=NOBODY_THERE | ON_THE_WAY_OUT, farewells=RESTARTING
)
PROCESS_FAULTS = [
    WORKER_IS_KILLED,
    ALL_ARE_KILLED,
    MASTER_IS_KILLED,
    WORKERS_ARE_RENEWED,
    SERVER_IS_RESTARTED,
]

# While the database is away, sockets stay open, and the log may say why nothing is delivered.
BACKENDS_ARE_TERMINATED = Fault(backends_are_terminated, excuses=NO_DATABASE, logged=WAITING)
DATABASE_IS_UNREACHABLE = Fault(database_is_unreachable, excuses=NO_DATABASE, logged=WAITING)
DATABASE_FALLS_SILENT = Fault(database_falls_silent, excuses=NO_DATABASE, logged=WAITING)
# Nothing tells such a connection from one whose answer takes its time, which is 3 s; only then it
# is given up, and others are tried.
DATABASE_CONNECTIONS_DIE_SILENTLY = Fault(
    database_connections_die_silently,
    LIVE_AFTER_SILENCE_SECONDS,
    excuses=NO_DATABASE,
    logged=WAITING,
)
DATABASE_CRASHES = Fault(database_crashes, excuses=NO_DATABASE, logged=WAITING)
DATABASE_IS_RESTARTED = Fault(database_is_restarted, excuses=NO_DATABASE, logged=WAITING)
DATABASE_STANDS_STILL = Fault(database_stands_still, excuses=NO_DATABASE, logged=WAITING)
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
REDIS_IS_KILLED = Fault(redis_is_killed)
REDIS_IS_RESTARTED_EMPTY = Fault(redis_is_restarted_empty)
REDIS_IS_FLUSHED = Fault(redis_is_flushed)
REDIS_STANDS_STILL = Fault(redis_stands_still)
REDIS_DROPS_SUBSCRIBERS = Fault(redis_drops_subscribers)
REDIS_FALLS_SILENT = Fault(redis_falls_silent)
REDIS_CONNECTIONS_DIE_SILENTLY = Fault(redis_connections_die_silently)
REDIS_FAULTS = [
    REDIS_IS_KILLED,
    REDIS_IS_RESTARTED_EMPTY,
    REDIS_IS_FLUSHED,
    REDIS_STANDS_STILL,
    REDIS_DROPS_SUBSCRIBERS,
    REDIS_FALLS_SILENT,
    REDIS_CONNECTIONS_DIE_SILENTLY,
]

CLIENT_FAULTS = [Fault(clients_are_reset), Fault(clients_stop), Fault(clients_fall_silent)]

MACHINE_IS_KILLED = Fault(machine_is_killed, excuses=NOBODY_THERE, farewells=TORN)
MACHINE_LOSES_DATABASE = Fault(machine_loses_database, excuses=NO_DATABASE, logged=WAITING)
MACHINE_LOSES_REDIS = Fault(machine_loses_redis)
MACHINE_FAULTS = [MACHINE_IS_KILLED, MACHINE_LOSES_DATABASE, MACHINE_LOSES_REDIS]
