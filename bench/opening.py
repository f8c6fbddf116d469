"""Opening the app: what somebody waits for who has thirty chats, until all is shown and live.

Beseda's clients ask for the list of chats, which has the last message of each, and for the newest
messages of one of them, and open one stream. With the API of the document, which the peers serve,
they ask for the list of rooms, and for each room for its newest messages and a socket.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import orjson

from bench.arena import Member, Room, Stage
from bench.load import Http, Loop, Socket, request
from bench.machine import Spent
from bench.scenarios import Outcome, cost, percentiles
from bench.talk import client

CHATS = 30
MESSAGES = 20  # of each
CONNECTIONS = 6  # for requests at a time, as browsers have
ROOMS_PATH = "/messenger/api/chatrooms/"
CHATS_PATH = "/messenger/api/chats/"
STREAM_PATH = "/messenger/ws/events/"

_EVENT_ID = re.compile(rb"\r\nx-event-id: *(\d+)", re.I)


def opening(stage: Stage, *, seconds: float, by_rooms: bool) -> Outcome:
    """Open the app again and again, as one client of one person.

    Args:
        stage: Where.
        seconds: How long.
        by_rooms: Whether by the API of the document alone.
    """
    viewer, rooms = furnish(stage)
    faults: Counter[str] = Counter()
    loop = Loop()
    way = ByRooms if by_rooms else ByStream
    Opening(stage, loop, viewer, rooms, way).run()  # what is prepared once does not count
    first = stage.meter.read()
    opened: list[Opening] = []
    while monotonic() < first.at + seconds:
        opened.append(Opening(stage, loop, viewer, rooms, way))
        faults += opened[-1].run()
    spent = Spent.between(first, stage.meter.read())
    figures = {
        "requests": float(opened[-1].requests),
        "sockets": float(len(opened[-1].sockets)),
        "kB of answers": opened[-1].bytes / 1000,
    }
    figures |= percentiles([each.took for each in opened]) | cost(spent, len(opened), "opening")
    return Outcome(figures, dict(faults), spent.client, spent.strangers[0])


def furnish(stage: Stage) -> tuple[Member, list[Room]]:
    """Give one member rooms with others, who have said something there."""
    viewer, *others = [member for room in stage.rooms for member in room.members]
    rooms = []
    for other in others[:CHATS]:
        with client(stage.port, other) as http:
            made = http.post(ROOMS_PATH, json={"recipient": viewer.username}).json()
            room = Room(made["id"], made["name"], (viewer, other))
            for number in range(MESSAGES):
                text = f"Сообщение номер {number}, каких в комнате много"
                http.post(room.messages_path, json={"content": text}).raise_for_status()
        rooms.append(room)
    return viewer, rooms


class Opening:
    """One client that comes with a token and an empty memory.

    Attributes:
        requests: How many were answered.
        bytes: Of these answers.
        sockets: Those that were opened.
        took: Seconds until all was there.
    """

    def __init__(
        self, stage: Stage, loop: Loop, viewer: Member, rooms: list[Room], way: "type[Way]"
    ) -> None:
        self.stage, self.viewer, self.rooms = stage, viewer, rooms
        self.loop = loop
        self.requests = self.bytes = 0
        self.sockets: list[Socket] = []
        self.took = 0.0
        self.faults: Counter[str] = Counter()
        self._way = way(self)
        self._waiting: list[tuple[str, Callable[[bytes, bytes], None]]] = []
        self._asked: dict[Http, Callable[[bytes, bytes], None]] = {}
        self._idle = [self._connection() for _ in range(CONNECTIONS)]
        self._all = list(self._idle)

    def run(self) -> Counter[str]:
        """Open the app, and close it; return what was wrong."""
        began = monotonic()
        self._way.begin()
        self.loop.wait(self._is_done, "the app is open")
        self.took = monotonic() - began
        for each in (*self._all, *self.sockets):
            each.close()
        return self.faults

    def ask(self, path: str, answered: Callable[[bytes, bytes], None]) -> None:
        """Ask as soon as a connection is free; `answered` gets the head and the body."""
        self._waiting.append((path, answered))
        self._ask_next()

    def open(self, path: str) -> Socket:
        """Open a socket."""
        socket = Socket(self.loop, self.stage.port, path, self.viewer.access)
        self.sockets.append(socket)
        return socket

    def _is_done(self) -> bool:
        return not self._waiting and not self._asked and self._way.is_live()

    def _ask_next(self) -> None:
        if self._idle and self._waiting:
            connection = self._idle.pop()
            path, self._asked[connection] = self._waiting.pop(0)
            connection.ask(request("GET", path, self.viewer.access))

    def _connection(self) -> Http:
        def answered(status: int, body: bytes, _took: float) -> None:
            self.requests += 1
            self.bytes += len(connection.head) + len(body)
            if status != 200:
                self.faults[f"answer {status}"] += 1
            self._idle.append(connection)
            self._asked.pop(connection)(connection.head, body)
            self._ask_next()

        connection = Http(self.loop, self.stage.port, answered)
        return connection

    def check_page(self, _head: bytes, body: bytes) -> None:
        """Look whether a page of messages is whole."""
        if len(orjson.loads(body)) != MESSAGES:
            self.faults["not a page"] += 1


@dataclass
class Way:
    """How the app is opened."""

    app: Opening

    def begin(self) -> None:
        """Send the first request."""
        raise NotImplementedError

    def is_live(self) -> bool:
        """Tell whether everything that is said from now on will come."""
        raise NotImplementedError


class ByStream(Way):
    """One list and one stream."""

    def begin(self) -> None:
        self.app.ask(CHATS_PATH, self._listed)

    def _listed(self, head: bytes, body: bytes) -> None:
        chats = orjson.loads(body)
        if len(chats) < len(self.app.rooms):
            self.app.faults["not all chats"] += 1
        event_id = _EVENT_ID.search(head)
        assert event_id, head
        self.app.open(f"{STREAM_PATH}?after={event_id[1].decode()}")
        self.app.ask(self.app.rooms[-1].messages_path, self.app.check_page)

    def is_live(self) -> bool:
        return any(b'"ready"' in payload for each in self.app.sockets for _, payload in each.frames)


class ByRooms(Way):
    """A page and a socket for each room."""

    def begin(self) -> None:
        self.app.ask(ROOMS_PATH, self._listed)

    def _listed(self, _head: bytes, body: bytes) -> None:
        if len(orjson.loads(body)) < len(self.app.rooms):
            self.app.faults["not all rooms"] += 1
        for room in self.app.rooms:
            self.app.ask(room.messages_path, self.app.check_page)
            self.app.open(room.socket_path)

    def is_live(self) -> bool:
        return len(self.app.sockets) == len(self.app.rooms) and all(
            each.is_open for each in self.app.sockets
        )
