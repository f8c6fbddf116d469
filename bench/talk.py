"""What was said in a run and what every socket heard, and the judgement of both."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from bench.arena import Member, Room, Stage
from bench.load import PATIENCE_SECONDS, Loop, Socket, mask
from tests.delivery.checker import Ack, History, Message, Said, check
from tests.delivery.checker import Socket as Heard

TEXT = "Сообщение, как его пишут люди: не длинное, не короткое"  # and a marker behind it
SETTLE_SECONDS = 0.5  # so long after the 101 some peers lose what is said
SILENCE_SECONDS = 3.0  # after so much of it nothing more will come
CONNECTING = 32  # sockets that are opened at a time
PATIENTLY = 1000  # and so many until patience is at its end
PAGE = 1000


@dataclass(slots=True)
class PubSubConnection:
    """Something that was said.

    Attributes:
        due: When it had to be said; latency counts from there.
        at: When it was.
    """

    room: str
    user: str
    marker: str
    text: str
    due: float
    at: float


class Chatter:
    """One member of a room at one socket."""

    def __init__(self, talk: "Talk", room: Room, member: Member, number: int) -> None:
        self.room = room
        self.member = member
        self._talk = talk
        self._name = f"{number:x}"
        self._count = 0
        self._marker = b""
        self.is_echoed = True
        self.socket = Socket(
            talk.loop, talk.stage.port, self.path, member.access, deflate=talk.deflate
        )

    @property
    def path(self) -> str:
        """The path of the socket."""
        return self.room.socket_path

    def frame(self, text: str) -> str:
        """Return what is sent to say something."""
        return f'{{"message": "{text}"}}'

    def texts(self) -> Iterator[tuple[float, bytes]]:
        """Yield the messages and the errors that came, each with its time."""
        yield from self.socket.texts()

    def send_text(self, due: float | None = None) -> None:
        """Say the next thing."""
        self._count += 1
        marker = f"{self._name}.{self._count};"
        text = f"{TEXT} #{marker}"
        self._marker = marker.encode()
        self.is_echoed = False
        frame = mask(self.frame(text).encode())
        now = monotonic()
        self._talk.lines.append(
            PubSubConnection(self.room.name, self.member.username, marker, text, due or now, now)
        )
        self.socket.send(frame)

    def chat(self) -> None:
        """Say something, and the next thing whenever the last one has come back."""
        self.socket.on_frame = self._echo
        self.send_text()

    def _echo(self, payload: bytes) -> None:
        if self._marker in payload:
            self.is_echoed = True
            if not self._talk.is_ending:
                self.send_text()


class Talk:
    """Chatters on a stage, and all that they say and hear.

    Args:
        stage: Where.
        deflate: Whether their sockets offer compression, as browsers do.
        kind: What they are.
    """

    def __init__(
        self, stage: Stage, *, deflate: bool = False, kind: type[Chatter] = Chatter
    ) -> None:
        self.stage = stage
        self.deflate = deflate
        self._kind = kind
        self.loop = Loop()
        self.lines: list[PubSubConnection] = []
        self.chatters: list[Chatter] = []
        self.is_ending = False
        self._parsed: dict[bytes, Message | None] = {}

    def open(self, seats: Sequence[tuple[Room, Member]]) -> None:
        """Open sockets, a few at a time."""
        for start in range(0, len(seats), PATIENTLY):
            self._open(seats[start : start + PATIENTLY])

    def _open(self, seats: Sequence[tuple[Room, Member]]) -> None:
        waiting = list(reversed(seats))
        opened = 0

        def dial() -> None:
            if waiting:
                chatter = self._kind(self, *waiting.pop(), len(self.chatters))
                chatter.socket.on_open = has_opened
                self.chatters.append(chatter)

        def has_opened() -> None:
            nonlocal opened
            opened += 1
            dial()

        for _ in range(CONNECTING):
            dial()
        self.loop.wait(lambda: opened == len(seats), "all sockets are open")

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Let the server come to rest."""
        self.loop.run(monotonic() + seconds)

    def finish(self) -> None:
        """Say nothing more and hear what is still to come."""
        self.is_ending = True
        on_text = -1
        while not self._is_complete() and on_text != (on_text := self._heard()):
            self.loop.run(monotonic() + SILENCE_SECONDS / 10)
            if on_text == self._heard():
                self.loop.run(monotonic() + SILENCE_SECONDS)

    def _heard(self) -> int:
        return sum(len(each.socket.frames) for each in self.chatters)

    def _is_complete(self) -> bool:
        said = Counter(line.room for line in self.lines)
        return all(len(list(each.texts())) >= said[each.room.name] for each in self.chatters)

    def close(self) -> None:
        """Hang up."""
        for chatter in self.chatters:
            chatter.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Judgement

    def on_text(self) -> Iterator[tuple[Chatter, float, Message]]:
        """Yield each message that a socket got, with its time."""
        for chatter in self.chatters:
            for at, payload in chatter.texts():
                message = self._parse(payload)
                if message is not None:
                    yield chatter, at, message

    def _parse(self, payload: bytes) -> Message | None:
        if payload not in self._parsed:
            self._parsed[payload] = as_message(orjson.loads(payload))
        return self._parsed[payload]

    def delays(self) -> list[tuple[float, float]]:
        """Return when each message was due and how long after that each socket had it."""
        due = {line.marker: line.due for line in self.lines}
        return [
            (due[message.client_id], at - due[message.client_id])
            for _, at, message in self.on_text()
            if message.client_id in due
        ]

    def acks(self) -> list[Ack]:
        """Return the echoes, each the first that its sender's name got at any socket."""
        found: dict[str, Ack] = {}
        for chatter, at, message in self.on_text():
            if message.user == chatter.member.username:
                ack = found.get(message.client_id)
                if ack is None or at < ack.at:
                    found[message.client_id] = Ack(chatter.room.name, message, at)
        return list(found.values())

    def faults(self) -> dict[str, int]:
        """Return how often what was broken, judged against what is stored in the end."""
        acks = self.acks()
        broken = Counter(str(verdict.rule) for verdict in check(self._history(acks)))
        if refused := sum(self._parse(text) is None for text in self._all_texts()):
            broken["refused"] = refused
        if unheard := len(self.lines) - len(acks):
            broken["never echoed"] = unheard
        if closed := sum(not each.socket.is_open for each in self.chatters):
            broken["socket closed"] = closed
        return dict(broken)

    def _all_texts(self) -> Iterator[bytes]:
        for chatter in self.chatters:
            for _, payload in chatter.texts():
                yield payload

    def _history(self, acks: list[Ack]) -> History:
        sockets = []
        for number, chatter in enumerate(self.chatters):
            socket = chatter.socket
            on_text = Heard(
                f"{chatter.member.username}/{number}",
                chatter.member.username,
                chatter.room.name,
                None,
                socket.dialed_at,
                socket.opened_at,
                is_open=socket.is_open,
            )
            on_text.received = [
                message
                for _, payload in chatter.texts()
                if (message := self._parse(payload)) is not None
            ]
            sockets.append(on_text)
        rooms = {line.room for line in self.lines}
        owners = {each.room.name: each for each in self.chatters if each.room.name in rooms}
        return History(
            said=[
                Said(line.room, line.user, line.marker, line.text, line.at) for line in self.lines
            ],
            acks=acks,
            sockets=[each for each in sockets if each.room in rooms],
            stored={
                name: stored_messages(self.stage.port, each.room, each.member)
                for name, each in owners.items()
            },
        )


def as_message(frame: Any) -> Message | None:
    """Return what a frame or a row of a list shows; None if it is no message."""
    if frame.get("id") is None:
        return None
    content = frame["content"]
    marker = content.rpartition("#")[2]
    return Message(frame["id"], frame["user"], content, frame["timestamp"], marker)


def stored_messages(port: int, room: Room, member: Member) -> list[Message]:
    """Return what `GET messages/` shows of a room, read from the end."""
    pages: list[list[Message]] = []
    before = ""
    with client(port, member) as http:
        while True:
            answer = http.get(f"{room.messages_path}?limit={PAGE}{before}")
            assert answer.status_code == 200, answer.text
            page = [message for each in answer.json() if (message := as_message(each))]
            pages.insert(0, page)
            if len(page) < PAGE:
                return [message for page in pages for message in page]
            before = f"&before={page[0].id}"


@contextmanager
def client(port: int, member: Member) -> Iterator[httpx.Client]:
    """Lend a client of the API for what is not measured."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {member.access}"},
        timeout=PATIENCE_SECONDS,
        verify=False,  # no TLS here: loading it takes 0.1 s
    ) as http:
        yield http
