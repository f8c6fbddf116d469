"""Judges whether a server kept its promises, from what its clients saw and nothing else.

A history has what people said, what was acknowledged, what each socket received in its order,
and what `GET messages/` returns in the end. It knows nothing of workers, buses or databases,
so whatever breaks there, the verdicts mean the same.

Source: "The promise" of the chat socket: durable, ordered, exactly once, resumable.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import NamedTuple


class Message(NamedTuple):
    """A message as a frame, an answer or a list shows it."""

    id: int
    user: str
    content: str
    timestamp: str
    client_id: str


@dataclass(slots=True)
class Said:
    """Something that a person wanted to say in a room.

    Attributes:
        first_at: When it was first sent; before that it cannot have been stored.
        times: How often it was sent, over all sockets and REST calls.
    """

    room: str
    user: str
    client_id: str
    content: str
    first_at: float
    times: int = 1


class Ack(NamedTuple):
    """The echo of a message to its sender, or the answer of a REST call; and when it came."""

    room: str
    message: Message
    at: float


@dataclass(slots=True)
class Socket:
    """What one client saw on one socket.

    Attributes:
        reader: Whose it is; the sockets of one reader follow each other.
        after: The `?after` that it was opened with.
        dialed_at: When the client began to open it.
        opened_at: When the client saw it open.
        is_open: Whether it was still open when the history was written down. Then all that
            was stored must have arrived.
        said: How often each `client_id` was sent on it.
        received: All messages, in their order.
    """

    reader: str
    user: str
    room: str
    after: int | None
    dialed_at: float
    opened_at: float
    is_open: bool = False
    said: Counter[str] = field(default_factory=Counter)
    received: list[Message] = field(default_factory=list)


@dataclass
class History:
    """All that happened.

    Attributes:
        sockets: In the order in which they were opened.
        stored: What `GET messages/` returns of each room in the end.
    """

    said: list[Said] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    sockets: list[Socket] = field(default_factory=list)
    stored: dict[str, list[Message]] = field(default_factory=dict)


class Rule(StrEnum):
    """What can be wrong."""

    NOT_STORED = "acknowledged, but not stored"
    STORED_OTHERWISE = "stored otherwise than it was acknowledged"
    STORED_TWICE = "stored twice under one client_id"
    STORED_UNSAID = "stored, but nobody said it"
    LISTED_IN_DISORDER = "listed out of the order of ids"
    COMMITTED_IN_DISORDER = "said after another was acknowledged, but has a smaller id"
    DELIVERED_UNSTORED = "delivered, but not stored"
    DELIVERED_OTHERWISE = "delivered otherwise than it is stored"
    LOST = "stored, but not delivered"
    GAP = "not delivered between two others"
    GAP_AFTER_RESUME = "not delivered to a socket that resumed before it"
    DOUBLED = "delivered twice"
    OUT_OF_ORDER = "delivered after a newer one"
    OLD = "delivered, although it is older than the socket's cursor"
    RESUMED_ELSEWHERE = "resumed elsewhere than its reader had come to"


class Verdict(NamedTuple):
    """A promise that was broken: which, and where."""

    rule: Rule
    where: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}"


def check(history: History) -> list[Verdict]:
    """Return every broken promise, in no particular order; none if all were kept."""
    verdicts = [verdict for room in _rooms(history) for verdict in room.verdicts()]
    for room in history.stored.keys() ^ {said.room for said in history.said}:
        # Nothing could be judged there.
        raise ValueError(f"nothing was said in {room}, or nobody looked what is stored there")
    return verdicts


def _rooms(history: History) -> Iterator["_Room"]:
    for name, stored in history.stored.items():
        yield _Room(
            name,
            stored,
            {(said.user, said.client_id): said for said in history.said if said.room == name},
            sorted((ack for ack in history.acks if ack.room == name), key=lambda ack: ack.at),
            [socket for socket in history.sockets if socket.room == name],
        )


@dataclass
class _Room:
    name: str
    listed: Sequence[Message]
    said: Mapping[tuple[str, str], Said]
    acks: Sequence[Ack]  # in the order of their times
    sockets: Sequence[Socket]

    def __post_init__(self) -> None:
        self.stored = {message.id: message for message in self.listed}
        self.ids = sorted(self.stored)
        self._ack_times = [ack.at for ack in self.acks]
        self._highest_acked = list(accumulate((ack.message.id for ack in self.acks), max))

    def verdicts(self) -> Iterator[Verdict]:
        yield from self._judge_storage()
        yield from self._judge_acks()
        reached: dict[str, int | None] = {}
        for socket in self.sockets:
            where = f"{self.name}, {socket.reader}"
            before = reached.get(socket.reader)
            if None not in (socket.after, before) and socket.after != before:
                text = f"{where}: after={socket.after}, had {before}"
                yield Verdict(Rule.RESUMED_ELSEWHERE, text)
            walk = _Walk(self, socket)
            for rule, what in walk.verdicts():
                yield Verdict(rule, f"{where} (after={socket.after}): {what}")
            reached[socket.reader] = walk.cursor

    def acked_before(self, at: float) -> int:
        """Return the highest id that somebody knew at a time; 0 before the first."""
        position = bisect_left(self._ack_times, at)
        return self._highest_acked[position - 1] if position else 0

    def id_before(self, message_id: int) -> int:
        """Return the id that precedes another in this room; 0 before the first."""
        position = bisect_left(self.ids, message_id)
        return self.ids[position - 1] if position else 0

    def between(self, low: int, high: float) -> Sequence[int]:
        """Return the ids between two, both excluded."""
        return self.ids[bisect_right(self.ids, low) : bisect_left(self.ids, high)]

    def first_id_said_after(self, at: float) -> int | None:
        """Return the smallest id of what was said after a time, if there was anything."""
        return min(
            (
                message.id
                for message in self.listed
                if (said := self.said.get((message.user, message.client_id))) and said.first_at > at
            ),
            default=None,
        )

    def _judge_storage(self) -> Iterator[Verdict]:
        for one, other in pairwise(self.listed):
            if one.id >= other.id:
                yield Verdict(Rule.LISTED_IN_DISORDER, f"{self.name}: {one.id}, {other.id}")
        keys = Counter((message.user, message.client_id) for message in self.listed)
        for key, times in keys.items():
            if times > 1:
                yield Verdict(Rule.STORED_TWICE, f"{self.name}: {key}, {times} times")
        for message in self.listed:
            said = self.said.get((message.user, message.client_id))
            if said is None or said.content != message.content:
                yield Verdict(Rule.STORED_UNSAID, f"{self.name}: {_shown(message)}")
            elif message.id < (known := self.acked_before(said.first_at)):
                text = f"{self.name}: {_shown(message)}, when {known} was known"
                yield Verdict(Rule.COMMITTED_IN_DISORDER, text)

    def _judge_acks(self) -> Iterator[Verdict]:
        for ack in self.acks:
            stored = self.stored.get(ack.message.id)
            if stored is None:
                yield Verdict(Rule.NOT_STORED, f"{self.name}: {_shown(ack.message)}")
            elif stored != ack.message:
                text = f"{self.name}: {_shown(ack.message)}, stored {_shown(stored)}"
                yield Verdict(Rule.STORED_OTHERWISE, text)


class _Walk:
    """Follows what one socket received.

    Attributes:
        cursor: The id up to which its client has everything; None while nobody can tell.
    """

    def __init__(self, room: _Room, socket: Socket) -> None:
        self._room = room
        self._socket = socket
        self._start = self.cursor = socket.after if socket.after is not None else self._begin()

    def verdicts(self) -> Iterator[tuple[Rule, str]]:
        room, socket = self._room, self._socket
        arrived = {message.id for message in socket.received}
        seen: set[int] = set()
        answers = Counter(
            {key: times for key, times in socket.said.items() if self._was_repeated(key)}
        )
        for message in socket.received:
            stored = room.stored.get(message.id)
            if stored is None:
                yield Rule.DELIVERED_UNSTORED, _shown(message)
                continue
            if stored != message:
                yield Rule.DELIVERED_OTHERWISE, f"{_shown(message)}, stored {_shown(stored)}"
            if self.cursor is None or message.id <= self.cursor:
                if message.user == socket.user and answers[message.client_id] > 0:
                    answers[message.client_id] -= 1  # the answer to a repeated client_id
                elif message.id in seen:
                    yield Rule.DOUBLED, _shown(message)
                elif self._start is not None and message.id > self._start:
                    yield Rule.OUT_OF_ORDER, _shown(message)
                else:
                    yield Rule.OLD, _shown(message)
            else:
                for missing in room.between(self.cursor, message.id):
                    if missing not in arrived:
                        resumed = self.cursor == socket.after
                        yield Rule.GAP_AFTER_RESUME if resumed else Rule.GAP, str(missing)
                self.cursor = message.id
            seen.add(message.id)
        if socket.is_open and self.cursor is not None:
            for missing in room.between(self.cursor, float("inf")):
                yield Rule.LOST, str(missing)

    def _begin(self) -> int | None:
        """Return the cursor of a socket that was opened without `after`.

        Its server placed it between the client's dialing and the 101, so what had been
        acknowledged before that is old, and what was said after that is due. In between the
        first message that arrives shows it, if it cannot be the answer to a repeat.
        """
        room, socket = self._room, self._socket
        known = room.acked_before(socket.dialed_at)
        candidates = [
            message.id
            for message in socket.received
            if message.id > known
            and not (message.user == socket.user and self._may_be_answer(message.client_id))
        ][:1]
        due = room.first_id_said_after(socket.opened_at)
        if due is not None:
            candidates.append(due)
        if not candidates:
            return known if socket.received else None
        return max(known, room.id_before(min(candidates)))

    def _may_be_answer(self, client_id: str) -> bool:
        return self._socket.said[client_id] > 0 and self._was_repeated(client_id)

    def _was_repeated(self, client_id: str) -> bool:
        said = self._room.said.get((self._socket.user, client_id))
        return said is not None and said.times > 1


def _shown(message: Message) -> str:
    return f"{message.id} of {message.user} ({message.client_id}: {message.content[:40]!r})"
