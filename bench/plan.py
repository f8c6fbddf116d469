"""What is run by whom: the scenarios, each with its contestants, its figures and its size."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from bench import scenarios
from bench.arena import POSTGRESQL, SQLITE, Stage
from bench.opening import opening
from bench.scenarios import Outcome


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        rounds: How often everybody takes a turn.
        seconds: How long the clock runs each time.
        warmup: How long it does not, before.
        rooms: Rooms of two people.
        fanout: Sockets of the one room.
        idle: Steps of idle sockets.
        hold: Seconds of silence.
        rows: Messages in rooms, the oldest first. The pages of all but the last are compared.
    """

    rounds: int = 3
    seconds: float = 5.0
    warmup: float = 2.0
    rooms: int = 20
    fanout: int = 1000
    idle: Sequence[int] = (1000, 5000, 10_000)
    hold: float = 90.0
    rows: Sequence[int] = (100, 10_000, 1_000_000, 1_000_000)
    rest_seconds: float = 1.5
    connections: Sequence[int] = (16, 64)


FULL = Size()
QUICK = Size(
    rounds=1,
    seconds=4.0,
    warmup=1.5,
    idle=(1000, 2000),
    hold=1.0,
    rows=(100, 10_000, 10_000),
    rest_seconds=1.0,
    connections=(16,),
)
TINY = Size(
    rounds=1,
    seconds=0.5,
    warmup=0.2,
    rooms=2,
    fanout=10,
    idle=(10, 20),
    hold=0.1,
    rows=(100, 200, 100),
    rest_seconds=0.2,
    connections=(2,),
)


@dataclass(frozen=True)
class Scenario:
    """One load.

    Attributes:
        key: On the command line.
        title: In the report.
        headline: The figure that is compared.
        others: A regular expression for what else is shown.
        contestants: Who, besides Beseda, in a full run.
        rounds: None: as many as the size says.
    """

    key: str
    title: str
    database: str
    headline: str
    others: str
    contestants: Sequence[str]
    play: Callable[[Stage, Size], Outcome]
    more_is_better: bool = True
    workers: int = 1
    rounds: int | None = None
    has_rows: bool = False

    def shown(self, figures: Iterable[str]) -> list[str]:
        """Choose what is shown, the headline first."""
        others = [each for each in figures if re.search(self.others, each)]
        return list(dict.fromkeys([self.headline, *others] if self.headline in figures else others))


def _chat(
    stage: Stage, size: Size, rate: float | None = None, *, by_stream: bool = False
) -> Outcome:
    return scenarios.chat(
        stage, seconds=size.seconds, warmup=size.warmup, rate=rate, by_stream=by_stream
    )


def _fanout(stage: Stage, size: Size) -> Outcome:
    return scenarios.fanout(
        stage, sockets=size.fanout, seconds=size.seconds, warmup=size.warmup, deflate=True
    )


def _idle(stage: Stage, size: Size) -> Outcome:
    return scenarios.idle(stage, steps=size.idle, hold=size.hold)


def _rest(stage: Stage, size: Size) -> Outcome:
    return scenarios.rest(stage, seconds=size.rest_seconds, connections=size.connections)


def _rows(stage: Stage, size: Size) -> Outcome:
    return scenarios.rows(stage, seconds=size.rest_seconds, counts=size.rows[:-1])


def _opening(stage: Stage, size: Size) -> Outcome:
    by_rooms = not stage.contestant.has_streams
    return opening(stage, seconds=size.seconds, by_rooms=by_rooms)


def _storm(stage: Stage, size: Size, clients: int) -> Outcome:
    return scenarios.storm(stage, clients=clients, rate=100, phase=size.seconds * 0.8, cycles=3)


_CHAT = r"messages/s|^p|µs/message"
_REST = r"×\d+ (requests/s|µs/request)"

SCENARIOS = [
    Scenario(
        "chat-postgresql",
        "Chat, closed loop, PostgreSQL",
        POSTGRESQL,
        "messages/s",
        _CHAT,
        ("node", "fastapi", "django", "django-redis", "flask"),
        _chat,
    ),
    Scenario(
        "chat-sqlite",
        "Chat, closed loop, SQLite",
        SQLITE,
        "messages/s",
        _CHAT,
        ("node", "fastapi", "django", "flask"),
        _chat,
    ),
    Scenario(
        "stream-postgresql",
        "Chat over streams, closed loop, PostgreSQL",
        POSTGRESQL,
        "messages/s",
        _CHAT,
        (),
        partial(_chat, by_stream=True),
    ),
    Scenario(
        "stream-sqlite",
        "Chat over streams, closed loop, SQLite",
        SQLITE,
        "messages/s",
        _CHAT,
        (),
        partial(_chat, by_stream=True),
    ),
    Scenario(
        "rate-200",
        "Chat at 200 messages/s, PostgreSQL",
        POSTGRESQL,
        "p99 ms",
        _CHAT,
        ("node", "django", "flask"),
        partial(_chat, rate=200),
        more_is_better=False,
    ),
    Scenario(
        "rate-2000",
        "Chat at 2,000 messages/s, PostgreSQL",
        POSTGRESQL,
        "p99 ms",
        _CHAT,
        ("node", "django"),
        partial(_chat, rate=2000),
        more_is_better=False,
    ),
    Scenario(
        "fanout",
        "Fan-out to 1,000 sockets whose clients offer deflate, SQLite",
        SQLITE,
        "deliveries/s",
        "",
        ("node", "django", "flask"),
        _fanout,
    ),
    Scenario(
        "idle",
        "Idle sockets, SQLite",
        SQLITE,
        "KiB/socket after a message",
        "",
        ("node", "django", "flask"),
        _idle,
        more_is_better=False,
        rounds=1,
    ),
    Scenario(
        "rest",
        "REST, PostgreSQL",
        POSTGRESQL,
        "GET messages ×16 requests/s",
        _REST,
        ("node", "fastapi", "django-pool", "flask"),
        _rest,
    ),
    Scenario(
        "opening",
        "Opening the app with 30 chats, PostgreSQL",
        POSTGRESQL,
        "µs/opening",
        "",
        ("beseda-rooms", "node", "fastapi", "django-pool", "flask"),
        _opening,
        more_is_better=False,
    ),
    Scenario(
        "rows",
        "The last page of rooms of 100 to 1,000,000 messages, PostgreSQL",
        POSTGRESQL,
        "slowest / quickest",
        r"requests/s|database|: µs",
        ("node", "django-pool", "flask"),
        _rows,
        more_is_better=False,
        rounds=1,
        has_rows=True,
    ),
    Scenario(
        "storm",
        "Chat at 100 messages/s while 8 clients log in, SQLite",
        SQLITE,
        "p99 storm / quiet",
        "",
        ("node", "django", "flask"),
        partial(_storm, clients=8),
        more_is_better=False,
    ),
    Scenario(
        "storm-50",
        "Chat at 100 messages/s while 50 clients log in, SQLite",
        SQLITE,
        "p99 storm / quiet",
        "",
        (),
        partial(_storm, clients=50),
        more_is_better=False,
    ),
    Scenario(
        "workers-1",
        "One worker, with and without a bus, PostgreSQL",
        POSTGRESQL,
        "µs/message",
        _CHAT,
        ("beseda-no-bus", "beseda-redis", "django", "django-pubsub"),
        _chat,
        more_is_better=False,
    ),
    Scenario(
        "workers-2",
        "Two workers that share one CPU, PostgreSQL",
        POSTGRESQL,
        "µs/message",
        _CHAT,
        ("beseda-redis", "django-pubsub"),
        _chat,
        more_is_better=False,
        workers=2,
    ),
]
BY_KEY = {each.key: each for each in SCENARIOS}
