"""The model of the stream, run on the code that serves it.

Threads write as people do. Three workers hear of it by a bus that loses, doubles and reorders.
Clients take the list of chats, resume from its event id with any of the workers, and break off.
Each of them is `clients/stream.py`, without its socket. In the end each knows what the tables say.
"""

import json
import random
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import gevent
import pytest
from chats import Chats
from sqlalchemy import func, select
from stream import Stream

from app.clock import utcnow
from app.database.sequence import draw
from app.database.transactions import reading, writing
from app.http.errors import ApiError
from app.messenger import group_members, groups
from app.messenger.drafts import Draft, Stored
from app.messenger.events import MessengerEvents
from app.messenger.history import MessageHistory
from app.messenger.mark_store import Move
from app.messenger.members import Membership
from app.messenger.message_changes import delete_message, edit_message
from app.messenger.models import Message
from app.messenger.read_marks import ReadMarkWriter
from app.messenger.store import store
from app.messenger.writer import MessageWriter
from app.realtime import EventPage, FramePage, Publication, Realtime, Signal, StreamSubscription
from app.realtime.feed import Feed
from app.realtime.pace import Pace
from app.realtime.stats import Stats
from app.services import services
from tests.fakes import FakeSocket, faultless_loop, until
from tests.messenger.team import Person, Team

WRITERS = 3
PEOPLE = 5
ACTS = 60  # of each writer
SECONDS = 60

Answer = TypeVar("Answer")


class SlowEvents(MessengerEvents):
    """The events in the tables; between a question and its answer the loop goes on."""

    def events_after(self, user_id: int, after: int, limit: int) -> FramePage:
        return _late(super().events_after(user_id, after, limit))

    def events_between(self, *args: Any) -> EventPage:
        return _late(super().events_between(*args))

    def members(self, room_id: int) -> Mapping[int, tuple[int, int | None]]:
        return _late(super().members(room_id))


def _late(answer: Answer) -> Answer:
    gevent.sleep(random.choice([0, 0.001, 0.003]))
    return answer


class Network:
    """A bus between the one who writes and the workers; it delivers when it is told to."""

    has_others = True

    def __init__(self, seed: int, workers: Sequence[Feed]) -> None:
        self._chance = random.Random(seed)
        self._workers = workers
        self._under_way: list[tuple[Feed, Publication]] = []
        self._turn = threading.Lock()

    def start(self, *_: object) -> None:
        """Nobody listens at this end."""

    def stop(self) -> None:
        """Nothing to end."""

    def is_healthy(self) -> bool:
        return True

    def publish(self, publications: Sequence[Publication | Signal]) -> None:
        """Take what was committed, from any thread; lose some of it, and double some."""
        with self._turn:
            for worker in self._workers:
                for publication in publications:
                    assert isinstance(publication, Publication)
                    copies = self._chance.choice([0, 1, 1, 1, 1, 2])
                    self._under_way += [(worker, publication)] * copies

    def deliver(self) -> None:
        """Bring something to one of the workers, in any order."""
        with self._turn:
            if not self._under_way:
                return
            at = min(int(self._chance.expovariate(0.5)), len(self._under_way) - 1)
            worker, publication = self._under_way.pop(at)
        worker.publish([publication])


class Client(Stream):
    """Somebody's client, which is online at times."""

    def __init__(self, person: Person) -> None:
        super().__init__("http://nowhere", token=None)
        self.person = person
        self.stream: StreamSubscription | None = None
        self._read = 0
        self.worker: Feed | None = None
        self.is_ready = False

    @property
    def cursor(self) -> int:
        """The newest event id that it knows of."""
        return self.chats.cursor

    def connect(self, worker: Feed) -> None:
        """Begin, or resume, with some worker."""
        if not self._is_loaded:
            chats, self.began_at = self.person.chats()
            self.chats, self._is_loaded = Chats(_plain(chats), self.began_at), True
            self.chats.me = {"id": self.person.id, "username": self.person.name}
        latest = self.person.team.events.newest_event_id()
        self.socket, self._read, self.is_ready = FakeSocket(), 0, False
        self.stream = StreamSubscription(self.socket, self.chats.cursor, self.person.id, self)
        self.worker = worker
        worker.join(self.stream, latest)

    def disconnect(self) -> None:
        """Break off; what has arrived was read."""
        self.take()
        assert self.stream
        assert self.worker
        self.socket.is_open = False
        self.worker.leave(self.stream)
        self.stream = None

    def take(self) -> None:
        """Apply what has arrived."""
        texts = self.socket.texts
        for text in texts[self._read :]:
            frame = json.loads(text)
            assert frame["id"] > self.chats.cursor, "an event came twice, or too late"
            _run(self._receive(frame))
        self._read = len(texts)

    async def _find_last(self, chat: dict[str, Any]) -> None:
        # As by REST. Who has left meanwhile will be told so.
        own = {each["id"]: each for each in self.person.chats()[0]}
        if chat["id"] in own:
            chat["last_message"] = _plain(own[chat["id"]]["last_message"])

    def on_ready(self, _cursor: int) -> None:
        self.is_ready = True

    def on_reset(self, _cursor: int) -> None:
        raise AssertionError("nobody asked for one")

    def on_cursor(self, _cursor: int) -> None:
        """Nothing was asked."""

    def on_beat(self, _cursor: int) -> None:
        """It lives."""


def _run(step: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(StopIteration):  # it waits for nothing
        step.send(None)


class GivenUp(Exception):
    """A transaction is rolled back."""


class Actor:
    """One of those who write at the same time."""

    def __init__(self, team: Team, people: Sequence[Person], names: Sequence[str], seed: int):
        self.team, self.people, self.names = team, people, names
        self.chance = random.Random(seed)
        self.sent: list[tuple[Membership, int]] = []

    def act_all(self) -> None:
        """Do one thing after another; what is not allowed is refused."""
        for _ in range(ACTS):
            with self.team.app.app_context(), suppress(ApiError):
                self._act()

    def _act(self) -> None:
        chance = self.chance
        who, other = chance.sample(self.people, 2)
        place = who.in_room(chance.choice(self.names))
        what = chance.random()
        actions: list[tuple[float, Callable[[], object]]] = [
            (0.45, lambda: self.sent.append((place, who.say(place, f"{chance.random()}").id))),
            (0.55, lambda: edit_message(*chance.choice(self.sent), f"e{chance.random()}", -1)),
            (0.65, lambda: delete_message(*chance.choice(self.sent))),
            (0.75, lambda: self._read(place)),
            (0.84, lambda: group_members.add_member(place, other.name)),
            (0.91, lambda: group_members.remove_member(place, other.name)),
            (0.94, lambda: group_members.change_role(place, other.name, "admin")),
            (0.96, lambda: groups.change_room(place, {"title": f"{chance.random()}"})),
            (0.98, lambda: groups.change_room(place, {"muted": chance.random() < 0.5})),
            (1.00, self._roll_back),
        ]
        if what > 0.45 and not self.sent:
            return
        next(do for upto, do in actions if what < upto)()

    def _roll_back(self) -> None:
        # Its numbers are never used, and nobody may wait for them for long.
        with suppress(GivenUp), writing(self.team.engine) as connection:
            draw(connection, self.chance.randint(1, 4))
            raise GivenUp

    def _read(self, place: Membership) -> None:
        key = (place.room_id, place.user_id)
        newest = self.sent[-1][1]
        services(self.team.app).read_marks.mark({key: Move(newest)})


def run_model(team: Team, seed: int) -> None:
    """Run it once."""
    chance = random.Random(seed)
    events = SlowEvents(team.engine)
    workers = [Feed(events, Stats(), Pace()) for _ in range(3)]
    network = Network(seed, workers)
    parts = services(team.app)
    parts.realtime = Realtime(MessageHistory(team.engine), events, network, 0)
    parts.read_marks = ReadMarkWriter(team.engine, parts.realtime.announce)
    parts.writer = MessageWriter(team.engine, parts.realtime.publish, parts.read_marks.note_sent)
    parts.read_marks.start()
    people = team.people(PEOPLE)
    founder, *others = people
    names = [
        founder.group(*others).room_name,
        founder.group(*others[:2], history="joined").room_name,
        founder.room_with(others[0]).room_name,
        others[0].room_with(others[1]).room_name,
    ]
    clients = [Client(person) for person in people for _ in range(2)]
    actors = [Actor(team, people, names, seed * 100 + n) for n in range(WRITERS)]
    threads = [threading.Thread(target=actor.act_all) for actor in actors]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        _step(chance, network, workers, clients)

    parts.read_marks.finish()
    newest = events.newest_event_id()
    for client in clients:
        if client.stream is None:
            client.connect(chance.choice(workers))

    def is_told() -> bool:
        for worker in workers:
            worker.reconcile()  # as every other second: one that reads just now is not asked
        return all(worker.cursor >= newest for worker in workers if worker.streams)

    until(lambda: all(client.is_ready for client in clients), SECONDS)
    until(is_told, SECONDS)
    for client in clients:
        client.take()
        _compare(client)
        client.disconnect()


def _step(
    chance: random.Random, network: Network, workers: Sequence[Feed], clients: Sequence[Client]
) -> None:
    what = chance.random()
    client = chance.choice(clients)
    if what < 0.6:
        network.deliver()
    elif what < 0.7:
        if client.stream is None:
            client.connect(chance.choice(workers))
        elif client.is_ready or chance.random() < 0.3:
            client.disconnect()
    elif what < 0.8 and client.stream is not None:
        client.take()
    elif what < 0.83:
        chance.choice(workers).reconcile()
    gevent.sleep(chance.choice([0, 0, 0.001]))


def _compare(client: Client) -> None:
    expected = {chat["id"]: chat for chat in _plain(client.person.chats()[0])}
    assert client.chats.keys() == expected.keys()
    for chat_id, chat in client.chats.items():
        for key, value in expected[chat_id].items():
            assert _without_times(chat[key]) == _without_times(value), (key, chat)
        assert chat.keys() - expected[chat_id].keys() == {"as_of", "messages"}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _without_times(value: Any) -> Any:
    # The server encodes them in another way than we do here.
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if key not in ("timestamp", "edited_at")}
    return value


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_every_client_knows_in_the_end_what_the_tables_say(team: Team, seed: int) -> None:
    with faultless_loop():
        run_model(team, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 130))
def test_every_client_knows_it_however_it_went(team: Team, seed: int) -> None:
    with faultless_loop():
        run_model(team, seed)


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [30, pytest.param(1_000, marks=pytest.mark.long)])
def test_the_list_of_chats_and_the_stream_meet(team: Team, rounds: int) -> None:
    chance = random.Random(rounds)
    events = SlowEvents(team.engine)
    workers = [Feed(events, Stats(), Pace()) for _ in range(2)]
    network = Network(rounds, workers)
    people = team.people(WRITERS + 1)
    reader, *writers = people
    names = [reader.group(*writers).room_name, *(reader.room_with(w).room_name for w in writers)]
    is_over = threading.Event()

    def write(writer: Person, own: str) -> None:
        places = [writer.in_room(names[0]), writer.in_room(own)]
        while not is_over.wait(0.0005):
            place = random.choice(places)
            (stored,) = store(team.engine, [Draft.of(place, "x")], utcnow())
            assert isinstance(stored, Stored)
            network.publish(
                [
                    Publication(
                        stored.id - 1,
                        stored.id,
                        place.room_id,
                        place.room_name,
                        stored.prev_id or 0,
                        stored.payload,
                    )
                ]
            )

    with faultless_loop(), ThreadPoolExecutor() as pool:
        jobs = [pool.submit(write, *each) for each in zip(writers, names[1:], strict=True)]
        residents = [Client(reader) for _ in workers]  # so that the workers know the rooms
        for resident, worker in zip(residents, workers, strict=True):
            resident.connect(worker)
        try:
            for _ in range(rounds):
                client = Client(reader)
                client.connect(chance.choice(workers))
                for _ in range(chance.randrange(30)):
                    network.deliver()
                    gevent.sleep(0)
                until(lambda client=client: client.is_ready, SECONDS)
                for _ in range(20):  # what comes now would hide a gap before it
                    network.deliver()
                    gevent.sleep(0.0005)
                client.disconnect()
                _compare_heard(client, client.began_at)
        finally:
            is_over.set()
        for job in jobs:
            job.result()
        for resident in residents:
            resident.disconnect()
            _compare_heard(resident, resident.began_at)


def _compare_heard(client: Client, asked_at: int) -> None:
    for chat in client.chats.values():
        heard = list(chat["messages"])
        query = select(Message.id).where(
            Message.room_id == chat["id"], Message.id > asked_at, Message.id <= client.cursor
        )
        with reading(client.person.team.engine) as connection:
            assert heard == list(connection.scalars(query.order_by(Message.id)))
        # Counted from the one, and on with the other.
        assert chat["unread"] == min(_count(client, chat), 1_000)


def _count(client: Client, chat: dict[str, Any]) -> int:
    query = select(func.count()).where(
        Message.room_id == chat["id"],
        Message.id > chat["read_id"],
        Message.id <= client.cursor,
        Message.user_id != client.person.id,
    )
    with reading(client.person.team.engine) as connection:
        return connection.scalar(query) or 0
