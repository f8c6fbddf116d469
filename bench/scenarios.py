"""What is measured: each scenario puts one load on one stage and returns figures and faults."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from statistics import quantiles
from time import monotonic

import orjson

from bench.arena import Member, Room, Stage
from bench.load import Http, Loop, request
from bench.machine import Reading, Spent
from bench.stream_talk import StreamChatter
from bench.talk import Chatter, Talk, client

KIB = 1024
REST_MESSAGES = 200  # in the room whose page is read
REST_POSTS = 200


@dataclass
class Outcome:
    """What came out of one run.

    Attributes:
        figures: Name, with its unit, to value.
        faults: What was broken, and how often; empty where all was right.
        client: The share of its CPU that the load generator needed; above 0.8 the figure is
            more about us than about the server.
        strangers: The share that other programs had of the server's CPU: above 0.1 the rates
            are too low, and only CPU per message counts.
    """

    figures: dict[str, float]
    faults: dict[str, int] = field(default_factory=dict)
    client: float = 0.0
    strangers: float = 0.0


def percentiles(delays: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    if len(delays) < 2:
        return {}
    cuts = quantiles(delays, n=100, method="inclusive")
    return {"p50 ms": 1000 * cuts[49], "p99 ms": 1000 * cuts[98]}


def cost(spent: Spent, times: int, what: str) -> dict[str, float]:
    """Return the CPU time of each part and of all for one of what was done so often, in µs."""
    costs = {f"{name} µs/{what}": 1e6 * each / times for name, each in spent.parts.items()}
    return costs | {f"µs/{what}": sum(costs.values())}


def _seats(rooms: Sequence[Room], each: int = 1) -> list[tuple[Room, Member]]:
    # One after the other room, so that any part of them has all rooms.
    return [(room, member) for _ in range(each) for room in rooms for member in room.members]


# Chat


def chat(
    stage: Stage,
    *,
    seconds: float,
    warmup: float,
    rate: float | None = None,
    by_stream: bool = False,
) -> Outcome:
    """Let two members of each room talk.

    Args:
        stage: Where.
        seconds: How long it is measured.
        warmup: How long it goes before that.
        rate: Messages a second, sent when they are due whatever the server does; None:
            everybody says the next thing when the last one has come back.
        by_stream: Whether they do it over streams, not over sockets of their rooms.
    """
    with Talk(stage, kind=StreamChatter if by_stream else Chatter) as talk:
        talk.open(_seats(stage.rooms))
        talk.settle()
        begins = monotonic() + warmup
        if rate is None:
            for chatter in talk.chatters:
                chatter.chat()
            talk.loop.run(begins)
            one = stage.meter.read()
            talk.loop.run(one.at + seconds)
        else:
            pace = _Pace(talk, rate)
            pace.run(begins)
            one = stage.meter.read()
            pace.run(one.at + seconds)
        other = stage.meter.read()
        talk.finish()
        return _chat_outcome(talk, one, other)


class _Pace:
    # Says things when they are due, by all chatters in turn.

    def __init__(self, talk: Talk, rate: float) -> None:
        self._talk = talk
        self._rate = rate
        self._start = monotonic()
        self._numbers = count()
        self._number = next(self._numbers)

    def run(self, until: float) -> None:
        loop, chatters = self._talk.loop, self._talk.chatters
        while (now := monotonic()) < until:
            due = self._start + self._number / self._rate
            if now >= due:
                chatters[self._number % len(chatters)].send_text(due)
                self._number = next(self._numbers)
            else:
                loop.turn(min(due, until))


def _chat_outcome(talk: Talk, one: Reading, other: Reading) -> Outcome:
    spent = Spent.between(one, other)
    echoed = sum(one.at <= ack.at < other.at for ack in talk.acks())
    delays = [delay for due, delay in talk.delays() if one.at <= due < other.at]
    return Outcome(
        {"messages/s": echoed / spent.seconds}
        | percentiles(delays)
        | cost(spent, max(echoed, 1), "message"),
        talk.faults(),
        spent.client,
        spent.strangers[0],
    )


def fanout(stage: Stage, *, sockets: int, seconds: float, warmup: float, deflate: bool) -> Outcome:
    """Let one room have many sockets; the next message is said when all have the last."""
    with Talk(stage, deflate=deflate) as talk:
        return _fanout(talk, sockets, seconds, warmup)


def _fanout(talk: Talk, sockets: int, seconds: float, warmup: float) -> Outcome:
    stage = talk.stage
    room = stage.rooms[0]
    talk.open(_seats([room], sockets // 2))
    talk.settle()
    speaker = talk.chatters[0]
    missing = 0
    rounds: list[tuple[float, float]] = []  # when a message was said, and when all had it

    def send_text() -> None:
        nonlocal missing
        missing = len(talk.chatters)
        speaker.send_text()

    def on_text(_payload: bytes) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            rounds.append((talk.lines[-1].at, monotonic()))
            if not talk.is_ending:
                send_text()

    for chatter in talk.chatters:
        chatter.socket.on_frame = on_text
    begins = monotonic() + warmup
    send_text()
    talk.loop.run(begins)
    one = stage.meter.read()
    talk.loop.run(one.at + seconds)
    other = stage.meter.read()
    talk.finish()
    spent = Spent.between(one, other)
    delivered = sum(
        one.at <= at < other.at for each in talk.chatters for at, _ in each.socket.frames
    )
    last = [done - said for said, done in rounds if one.at <= said < other.at]
    return Outcome(
        {"deliveries/s": delivered / spent.seconds}
        | {f"last of all {name}": value for name, value in percentiles(last).items()}
        | cost(spent, max(delivered, 1), "delivery")
        | {"compressed": float(talk.chatters[0].socket.is_compressed)},
        talk.faults(),
        spent.client,
        spent.strangers[0],
    )


# Idle sockets


def idle(stage: Stage, *, steps: Sequence[int], hold: float, deflate: bool = True) -> Outcome:
    """Open sockets, let one message through each, wait, use REST beside them, and close them.

    Args:
        stage: Where.
        steps: How many sockets are open when it is measured.
        hold: How many seconds all of them are silent.
        deflate: Whether they offer compression.
    """
    with Talk(stage, deflate=deflate) as talk:
        return _idle(talk, steps, hold)


def _idle(talk: Talk, steps: Sequence[int], hold: float) -> Outcome:
    stage = talk.stage
    meter = stage.meter
    alone = rest_cost(stage, talk.loop)
    seats = _seats(stage.rooms, 1 + max(steps) // (2 * len(stage.rooms)))
    start = meter.memory()
    figures: dict[str, float] = {}
    first = meter.read()
    for step in steps:
        opened = len(talk.chatters)
        one = meter.read()
        talk.open(seats[opened:step])
        other = meter.read()
        spent = Spent.between(one, other)
        figures[f"connects/s to {step}"] = (step - opened) / spent.seconds
        figures |= {
            f"{name} to {step}": value
            for name, value in cost(spent, step - opened, "connect").items()
            if not name.startswith("µs")
        }
        talk.settle(1.0)
        figures[f"KiB/socket at {step}"] = (meter.memory() - start) / step / KIB
    by_room = {chatter.room.id: chatter for chatter in talk.chatters}
    for chatter in by_room.values():
        chatter.send_text()
        talk.settle(0.05)
    talk.finish()
    figures["KiB/socket after a message"] = (meter.memory() - start) / len(talk.chatters) / KIB
    one = meter.read()
    talk.loop.run(monotonic() + hold)
    held = Spent.between(one, meter.read())
    figures["idle % of a core"] = 100 * sum(held.parts.values()) / held.seconds
    figures["pings answered"] = float(sum(each.socket.pings for each in talk.chatters))
    figures["alive"] = float(sum(each.socket.is_open for each in talk.chatters))
    beside = rest_cost(stage, talk.loop)
    figures["µs of a request beside them / alone"] = beside / alone
    faults = talk.faults()
    talk.close()
    talk.settle(3.0)
    figures["MiB over the start when all are closed"] = (meter.memory() - start) / KIB / KIB
    spent = Spent.between(first, meter.read())
    return Outcome(figures, faults, spent.client, spent.strangers[0])


# REST


@dataclass(frozen=True)
class Question:
    """A request and what has to be answered.

    Attributes:
        is_constant: Whether the answer is the same each time.
    """

    name: str
    asked: bytes
    status: int
    is_constant: bool


def questions(room: Room, member: Member) -> list[Question]:
    """Return what is asked by REST."""
    token = member.access
    post = orjson.dumps({"title": "Заметка", "content": "Текст, " * 20})
    message = orjson.dumps({"content": "Сообщение по REST, не длинное и не короткое"})
    return [
        Question("GET messages", request("GET", room.messages_path, token), 200, True),
        Question("GET posts", request("GET", "/profiles/api/posts/", token), 200, True),
        Question("GET profile", request("GET", "/profiles/api/profile/", token), 200, True),
        Question("GET chatrooms", request("GET", "/messenger/api/chatrooms/", token), 200, True),
        Question("POST post", request("POST", "/profiles/api/posts/", token, post), 201, False),
        Question("POST message", request("POST", room.messages_path, token, message), 201, False),
    ]


def rest(stage: Stage, *, seconds: float, connections: Sequence[int]) -> Outcome:
    """Ask each question over and over, on some connections at a time."""
    room, (member, _) = stage.rooms[0], stage.rooms[0].members
    fill(stage, room, member)
    figures: dict[str, float] = {}
    faults: Counter[str] = Counter()
    worst_client = worst_strangers = 0.0
    for question in questions(room, member):
        for number in connections:
            asking = Asking(stage, Loop(), question, number)
            asking.run(seconds)
            figures |= {f"{question.name} ×{number} {k}": v for k, v in asking.figures().items()}
            faults += asking.faults
            worst_client = max(worst_client, asking.spent.client)
            worst_strangers = max(worst_strangers, asking.spent.strangers[0])
    return Outcome(figures, dict(faults), worst_client, worst_strangers)


def fill(stage: Stage, room: Room, member: Member) -> None:
    """Let there be something to read."""
    with client(stage.port, member) as http:
        for number in range(REST_MESSAGES):
            text = f"Сообщение номер {number}, каких в комнате много"
            http.post(room.messages_path, json={"content": text}).raise_for_status()
        for number in range(REST_POSTS):
            body = {"title": f"Заметка {number}", "content": "Текст, " * 20}
            http.post("/profiles/api/posts/", json=body).raise_for_status()


class Asking:
    """Some connections that ask the same thing without a pause."""

    def __init__(self, stage: Stage, loop: Loop, question: Question, connections: int) -> None:
        self._stage = stage
        self._loop = loop
        self._question = question
        self._first = b""
        self._ids: list[int] = []
        self._until = float("inf")
        self._answers: list[tuple[float, float]] = []
        self.faults: Counter[str] = Counter()
        self._connections = [Http(self._loop, stage.port, self._hear) for _ in range(connections)]

    def run(self, seconds: float) -> None:
        """Ask for so long, after a moment that does not count."""
        for each in self._connections:
            each.ask(self._question.asked)
        self._loop.run(monotonic() + min(0.3, seconds / 3))
        one = self._stage.meter.read()
        self._until = one.at + seconds
        self._loop.run(self._until)
        other = self._stage.meter.read()
        self._loop.wait(lambda: not any(each.is_busy for each in self._connections), "all answers")
        for each in self._connections:
            each.close()
        self.spent = Spent.between(one, other)
        self._measured = [took for at, took in self._answers if one.at <= at < other.at]
        self._judge()

    def figures(self) -> dict[str, float]:
        """Return requests per second, how long they took, and what they cost."""
        times = len(self._measured)
        return (
            {"requests/s": times / self.spent.seconds}
            | percentiles(self._measured)
            | cost(self.spent, max(times, 1), "request")
        )

    def _hear(self, status: int, body: bytes, took: float) -> bytes | None:
        now = monotonic()
        self._answers.append((now, took))
        if status != self._question.status:
            self.faults[f"{self._question.name}: {status}"] += 1
        elif not self._question.is_constant:
            self._ids.append(orjson.loads(body)["id"])
        elif not self._first:
            self._first = body
        elif body != self._first:
            self.faults[f"{self._question.name}: another answer"] += 1
        return self._question.asked if now < self._until else None

    def _judge(self) -> None:
        name = self._question.name
        if self._question.is_constant:
            if name in ("GET messages", "GET posts"):
                ids = [each["id"] for each in orjson.loads(self._first)]
                if len(ids) != 100 or ids != sorted(set(ids)):
                    self.faults[f"{name}: not a page"] += 1
            return
        if len(set(self._ids)) < len(self._ids):
            self.faults[f"{name}: an id came twice"] += 1
        # The page that is read back has to end with what was answered last.
        path = self._question.asked.split(b" ", 2)[1].decode()
        with client(self._stage.port, self._stage.rooms[0].members[0]) as http:
            page = [each["id"] for each in http.get(f"{path}?limit=1000").json()]
        if not set(page[-len(self._ids) :]) <= set(self._ids) or not page:
            self.faults[f"{name}: not stored"] += 1


def rest_cost(stage: Stage, loop: Loop, seconds: float = 1.0) -> float:
    """Return the CPU time of showing a profile at the moment, in µs."""
    room = stage.rooms[0]
    (question,) = [each for each in questions(room, room.members[0]) if each.name == "GET profile"]
    asking = Asking(stage, loop, question, 16)
    asking.run(seconds)
    assert not asking.faults, asking.faults
    return asking.figures()["µs/request"]


def rows(stage: Stage, *, seconds: float, counts: Sequence[int]) -> Outcome:
    """Read the newest page of rooms with more and more messages."""
    figures: dict[str, float] = {}
    faults: Counter[str] = Counter()
    worst_client = worst_strangers = 0.0
    for room, number in zip(stage.rooms, counts, strict=False):
        asked = request("GET", room.messages_path, room.members[0].access)
        asking = Asking(stage, Loop(), Question("GET messages", asked, 200, True), 16)
        asking.run(seconds)
        costs = {k: v for k, v in asking.figures().items() if not k.startswith("p")}
        figures |= {f"of {number}: {k}": v for k, v in costs.items()}
        faults += asking.faults
        worst_client = max(worst_client, asking.spent.client)
        worst_strangers = max(worst_strangers, asking.spent.strangers[0])
    cost = [value for name, value in figures.items() if name.endswith(": µs/request")]
    figures["slowest / quickest"] = max(cost) / min(cost)
    return Outcome(figures, dict(faults), worst_client, worst_strangers)


# A crowd that logs in


def storm(stage: Stage, *, clients: int, rate: float, phase: float, cycles: int) -> Outcome:
    """Let people chat at a set rate, in turn without and with a crowd that logs in."""
    with Talk(stage) as talk:
        return _storm(talk, clients, rate, phase, cycles)


def _storm(talk: Talk, clients: int, rate: float, phase: float, cycles: int) -> Outcome:
    stage = talk.stage
    talk.open(_seats(stage.rooms[:10]))
    talk.settle()
    is_storm = False
    logins = 0
    faults: Counter[str] = Counter()
    asked: dict[Http, bytes] = {}

    def crowd(asked: bytes) -> Callable[[int, bytes, float], bytes | None]:
        def answered(status: int, _body: bytes, _took: float) -> bytes | None:
            nonlocal logins
            logins += 1
            if status != 200:
                faults[f"login: {status}"] += 1
            return asked if is_storm else None

        return answered

    everybody = [member for room in stage.rooms for member in room.members]
    for member in islice(cycle(everybody), clients):
        body = orjson.dumps({"username": member.username, "password": member.password})
        login = request("POST", "/accounts/api/token/", body=body)
        asked[Http(talk.loop, stage.port, crowd(login))] = login
    pace = _Pace(talk, rate)
    pace.run(monotonic() + 1)
    first = stage.meter.read()
    phases: list[tuple[float, bool]] = []
    for number in range(2 * cycles):
        is_storm = number % 2 == 1
        phases.append((monotonic(), is_storm))
        if is_storm:
            for each, login in asked.items():
                each.ask(login)
        pace.run(monotonic() + phase)
        if is_storm:
            is_storm = False
            # Those who are in the middle of it come to their end, in neither phase.
            while any(each.is_busy for each in asked):
                pace.run(monotonic() + 0.05)
            pace.run(monotonic() + 1)
    spent = Spent.between(first, stage.meter.read())
    talk.finish()
    quiet, stormy = _split(talk.delays(), phases, phase)
    calm, rough = percentiles(quiet), percentiles(stormy)
    for each in asked:
        each.close()
    return Outcome(
        {f"quiet {name}": value for name, value in calm.items()}
        | {f"storm {name}": value for name, value in rough.items()}
        | {
            "p99 storm / quiet": rough["p99 ms"] / calm["p99 ms"],
            "logins/s": logins / (cycles * phase),
        },
        talk.faults() | dict(faults),
        spent.client,
        spent.strangers[0],
    )


def _split(
    delays: Sequence[tuple[float, float]], phases: Sequence[tuple[float, bool]], length: float
) -> tuple[list[float], list[float]]:
    quiet: list[float] = []
    stormy: list[float] = []
    for due, delay in delays:
        for start, is_storm in phases:
            if start <= due < start + length:
                (stormy if is_storm else quiet).append(delay)
    return quiet, stormy
