"""All rooms of a worker: clients join and leave, reconciliation, the stop of the worker.

The last test lets chance decide in what order all of it happens.
"""

import socket
from dataclasses import dataclass, field

import gevent
import pytest
from gevent.event import Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.realtime import (
    HistoryUnavailableError,
    MemoryBus,
    Publication,
    Realtime,
    StreamSubscription,
    closing,
)
from app.realtime.hub import Hub
from tests.fakes import (
    FakeEvents,
    FakeHistory,
    FakeListener,
    FakeSocket,
    Peer,
    settle,
    until,
)

pytestmark = pytest.mark.usefixtures("loop")

ROOM, OTHER_ROOM = 7, 8


class WrittenBus(MemoryBus):
    """Remembers what is published; healthy or not, as it is told."""

    has_others = True

    def __init__(self):
        self.published = []
        self.is_fine = True
        self.stopped = 0

    def start(self, on_publications, on_recovery):
        self.receive, self.recovered = on_publications, on_recovery

    def publish(self, publications):
        self.published += publications

    def is_healthy(self):
        return self.is_fine

    def stop(self):
        self.stopped += 1


@pytest.fixture
def bus():
    return WrittenBus()


@pytest.fixture
def hub(history, bus):
    return Hub(history, FakeEvents(), bus)


@pytest.fixture
def greenlets(monkeypatch):
    """The greenlets that hubs start, ended after the test."""
    started = []

    def spawn(function, *args):
        started.append(gevent.spawn(function, *args))

    monkeypatch.setattr("app.realtime.hub.spawn", spawn)
    yield started
    gevent.killall(started)


def join(hub, history, room_id=ROOM, after=None):
    """Return a socket that has joined a room, as a handshake does it."""
    latest = history.newest(room_id)
    ear = FakeSocket()
    ear.subscription = hub.join(ear, room_id, latest, latest if after is None else after)
    return ear


def leave(hub, ear, room_id=ROOM):
    """Let a socket that is closed leave its room."""
    hub.leave(room_id, ear.subscription)
    hub.forget(ear)


# Joining, publishing, leaving


def test_what_sockets_see_is_counted(hub, history):
    history.commit(ROOM)
    ears = [join(hub, history), join(hub, history), join(hub, history, after=0)]
    until(lambda: ears[2].texts)

    hub.publish([history.commit(ROOM), history.commit(ROOM)])
    history.commit(ROOM)
    hub.reconcile()
    until(lambda: all(ear.texts[-1] == "4" for ear in ears))
    leave(hub, ears[0], ROOM)

    assert hub.stats.replayed == 1
    assert hub.stats.delivered == 3 * 3
    assert hub.stats.reconciled == 1
    assert hub.stats.filled == 1
    assert hub.stats.closes == {(1000, False): 1}


def test_publications_reach_the_sockets_of_their_room_only(hub, history):
    ear, other = join(hub, history), join(hub, history, OTHER_ROOM)
    settle()

    hub.publish([history.commit(room) for room in (ROOM, OTHER_ROOM, ROOM, 9)])

    assert ear.texts == ["1", "3"]
    assert other.texts == ["2"]
    assert history.questions == 2  # the first look of each room


@pytest.mark.parametrize("first", [True, False], ids=["first in the room", "not the first"])
def test_what_is_said_between_look_up_and_join_is_heard(hub, history, first):
    if not first:
        join(hub, history)
        settle()
    latest = history.newest(ROOM)
    publication = history.commit(ROOM)
    hub.publish([publication])
    ear = FakeSocket()

    hub.join(ear, ROOM, latest, latest)
    until(lambda: ear.texts)
    hub.publish([history.commit(ROOM)])
    settle()

    assert ear.texts == ["1", "2"]


def test_joiner_that_knows_more_than_the_room_brings_it_up_to_date(hub, history):
    ear = join(hub, history)
    settle()
    history.commit(ROOM)  # whose ring is lost

    late = join(hub, history)
    until(lambda: ear.texts)
    settle()

    assert ear.texts == ["1"]
    assert late.texts == []


@pytest.mark.parametrize("after", [0, 3, 5])
def test_joiner_gets_what_is_after_its_cursor(hub, history, after):
    for _ in range(5):
        history.commit(ROOM)

    ear = join(hub, history, after=after)
    until(lambda: ear.cursor == 5)
    settle()
    hub.publish([history.commit(ROOM)])

    assert ear.texts == history.ids(ROOM, after)


def test_last_to_leave_closes_the_room(hub, history):
    one, two = join(hub, history), join(hub, history)
    settle()

    leave(hub, one, ROOM)
    assert ROOM in hub.channels
    leave(hub, two, ROOM)
    leave(hub, two, ROOM)
    assert hub.channels == {}

    hub.publish([history.commit(ROOM)])
    assert one.texts == two.texts == []


def test_socket_that_never_joined_can_leave(hub, history):
    ear = FakeSocket()

    hub.forget(ear)
    leave(hub, ear, ROOM)

    assert hub.channels == {}


def test_room_that_was_left_amid_its_first_look_starts_afresh(hub, history):
    history.commit(ROOM)
    history.hang()
    gone = join(hub, history, after=0)
    settle()
    gone.is_open = False
    leave(hub, gone, ROOM)
    ear = join(hub, history)
    settle()

    hub.publish([history.commit(ROOM), history.commit(ROOM)])
    history.answer()
    until(lambda: len(ear.texts) == 2)
    settle()

    assert ear.texts == ["2", "3"]
    assert gone.texts == []


# Reconciliation


def test_reconciliation_delivers_what_was_never_published(hub, history):
    ear, other = join(hub, history), join(hub, history, OTHER_ROOM)
    settle()
    for room_id in (ROOM, OTHER_ROOM, ROOM):
        history.commit(room_id)

    hub.reconcile()
    until(lambda: len(ear.texts) == 2 and other.texts)
    hub.reconcile()
    settle()

    assert ear.texts == ["1", "3"]
    assert other.texts == ["2"]


def test_reconciliation_of_no_rooms_asks_nothing(hub, history):
    hub.reconcile()

    assert history.questions == 0


def test_reconciliation_that_fails_harms_nothing(hub, history):
    ear = join(hub, history)
    settle()
    history.commit(ROOM)
    history.errors.append(HistoryUnavailableError("the database is away"))

    hub.reconcile()
    hub.reconcile()
    until(lambda: ear.texts)

    assert ear.texts == ["1"]


def test_reconciliation_that_took_long_repeats_nothing(hub, history):
    ear = join(hub, history)
    settle()
    publications = [history.commit(ROOM)]
    history.hang()
    reconcile = gevent.spawn(hub.reconcile)
    settle()

    hub.publish([*publications, history.commit(ROOM)])
    history.answer()
    until(lambda: reconcile.dead)
    settle()

    assert ear.texts == ["1", "2"]


def test_reconciled_rooms_a_gap_that_could_not_be_read(hub, history):
    ear = join(hub, history)
    settle()
    publications = [history.commit(ROOM) for _ in range(2)]
    history.errors.append(HistoryUnavailableError("the database is away"))
    hub.publish(publications[1:])
    settle()
    assert ear.texts == []

    hub.reconcile()
    until(lambda: ear.texts)

    assert ear.texts == ["1", "2"]


@pytest.mark.parametrize("is_healthy", [True, False])
def test_hub_sweeps_by_itself(hub, history, bus, greenlets, monkeypatch, is_healthy):
    never, soon = 3600, 0.01
    monkeypatch.setattr("app.realtime.hub.RECONCILE_SECONDS", soon if is_healthy else never)
    monkeypatch.setattr(
        "app.realtime.hub.UNHEALTHY_RECONCILE_SECONDS", never if is_healthy else soon
    )
    bus.is_fine = is_healthy
    hub.start()
    ear = join(hub, history)
    settle()
    history.errors += [HistoryUnavailableError("the database is away")] * 3

    history.commit(ROOM)
    until(lambda: ear.texts)

    assert ear.texts == ["1"]


def test_defect_of_the_history_is_logged_with_its_traceback(hub, history, caplog):
    join(hub, history)
    settle()
    history.errors.append(TypeError("a defect"))

    hub.reconcile()

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info[0] is TypeError


def test_worker_without_others_seldom_asks_the_database(hub, history, bus, greenlets, monkeypatch):
    monkeypatch.setattr("app.realtime.hub.RECONCILE_SECONDS", 0.01)
    bus.has_others = False
    join(hub, history)
    hub.start()
    gevent.sleep(0.1)

    assert history.questions == 1  # the first look of the room


def test_hub_sweeps_at_once_when_the_bus_has_recovered(hub, history, bus, greenlets, monkeypatch):
    for name in ("RECONCILE_SECONDS", "UNHEALTHY_RECONCILE_SECONDS"):
        monkeypatch.setattr(f"app.realtime.hub.{name}", 3600)
    hub.start()
    ear, other = join(hub, history), join(hub, history, OTHER_ROOM)
    settle()
    history.commit(ROOM)
    history.commit(OTHER_ROOM)
    settle()
    assert ear.texts == other.texts == []

    bus.recovered()
    until(lambda: ear.texts and other.texts)
    bus.receive([history.commit(ROOM)])

    assert ear.texts == ["1", "3"]
    assert other.texts == ["2"]


def test_hub_beats_for_its_connections(hub, greenlets, monkeypatch):
    monkeypatch.setattr("app.realtime.hub.HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr("app.realtime.connection.PING_SECONDS", 0)
    hub.start()
    with Client(hub) as client:
        client.peer.take_until(lambda: client.peer.pings)


def test_one_connection_that_fails_does_not_stop_the_heart_of_the_others(
    hub, greenlets, monkeypatch
):
    monkeypatch.setattr("app.realtime.hub.HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr("app.realtime.connection.PING_SECONDS", 0)

    class Broken(FakeSocket):
        def beat(self, now):
            raise RuntimeError("a defect")

    broken = Broken()
    hub.connections.add(broken)
    hub.start()
    with Client(hub) as client:
        client.peer.take_until(lambda: len(client.peer.pings) > 2)


# Going down


class Client:
    """A real connection in a hub or in a `Realtime`, with its client's end."""

    def __init__(self, hub, room_id=None, *, is_there=True):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.listener = FakeListener()
        self.listener.closed = self._closed
        self.peer = Peer(theirs)
        if not is_there:
            theirs.close()
        self.subscription = None
        self._hub = hub
        self._room_id = room_id
        self.connection = hub.open(ours.detach(), self.listener)

    def _closed(self, code):
        self.listener.codes.append(code)
        if self.subscription is not None:
            self._hub.leave(self._room_id, self.subscription)
        self._hub.forget(self.connection)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.connection.abort()
        self.peer.socket.close()


@pytest.fixture
def realtime(history, bus, greenlets):
    realtime = Realtime(history, FakeEvents(), bus, sockets_max=3)
    realtime.start()
    return realtime


@pytest.fixture
def pair(realtime, history):
    """Two clients in one room."""
    with Client(realtime, ROOM) as one, Client(realtime, ROOM) as two:
        for client in (one, two):
            newest = history.newest(ROOM)
            client.subscription = realtime.join(client.connection, ROOM, newest, newest)
        settle()
        yield one, two


def nothing():
    """Finish what there is to finish."""


def test_there_is_room_for_so_many_sockets(realtime, pair):
    assert realtime.has_room()
    with Client(realtime):
        assert not realtime.has_room()
    assert realtime.has_room()


def test_place_of_a_handshake_is_kept_until_it_is_over(realtime, pair):
    assert realtime.reserve()

    assert not realtime.has_room()
    assert not realtime.reserve()

    realtime.release()
    assert realtime.reserve()


def test_refused_sockets_take_nobodys_place(realtime, pair, history):
    strangers = [Client(realtime) for _ in range(5)]
    for stranger in strangers:
        realtime.refuse(stranger.connection, closing.UNAUTHENTICATED)

    assert realtime.sockets == 2
    assert realtime.has_room()
    for stranger in strangers:
        stranger.connection.abort()
        stranger.peer.socket.close()
    assert realtime.sockets == 2


def test_oldest_of_too_many_refused_sockets_goes(realtime, monkeypatch):
    monkeypatch.setattr("app.realtime.hub.REFUSED_MAX", 2)
    strangers = [Client(realtime) for _ in range(3)]
    for stranger in strangers:
        realtime.refuse(stranger.connection, closing.UNAUTHENTICATED)

    assert [stranger.connection.is_gone for stranger in strangers] == [True, False, False]
    for stranger in strangers:
        stranger.connection.abort()
        stranger.peer.socket.close()


def test_there_is_no_room_before_the_start(history, bus):
    realtime = Realtime(history, FakeEvents(), bus, sockets_max=3)

    assert not realtime.has_room()
    assert not realtime.reserve()


def test_publication_is_delivered_here_and_published(realtime, pair, history, bus):
    publication = history.commit(ROOM)

    realtime.publish([publication])
    for client in pair:
        client.peer.take_until(lambda: client.peer.texts)  # noqa: B023 - called at once

    assert [client.peer.texts for client in pair] == [["1"], ["1"]]
    assert bus.published == [publication]


def test_repeat_to_a_room_that_is_closed_is_forgotten(realtime, pair):
    realtime.resend(OTHER_ROOM, pair[0].subscription, 1, b"1")

    settle()

    assert not pair[0].peer.take()


def test_stop_finishes_and_then_sends_close_frames(realtime, pair, history, bus):
    def finish():
        assert not realtime.has_room()
        gevent.sleep(0.01)
        realtime.publish([history.commit(ROOM)])  # what was taken in is stored and echoed

    stop = gevent.spawn(realtime.stop, finish)
    for client in pair:
        client.peer.take_until(lambda: client.peer.code)  # noqa: B023 - called at once
        client.peer.say_goodbye(1012)
        client.peer.take_all()
    until(lambda: stop.dead)

    assert [client.peer.texts for client in pair] == [["1"], ["1"]]
    assert [client.listener.codes for client in pair] == [[1012], [1012]]
    assert bus.stopped


def test_socket_that_comes_while_the_worker_stops_gets_a_close_frame(realtime):
    realtime.stop(nothing)

    with Client(realtime) as client:
        client.peer.take_until(lambda: client.peer.code)

    assert client.peer.code == 1012


def test_socket_that_is_gone_before_its_close_frame_is_forgotten(realtime, caplog):
    realtime.stop(nothing)

    with Client(realtime, is_there=False):
        until(lambda: not realtime.sockets)

    assert not caplog.records


def test_stop_does_not_wait_long_for_answers(realtime, pair, monkeypatch):
    monkeypatch.setattr("app.realtime.STOP_SECONDS", 0.05)

    realtime.stop(nothing)

    assert [client.connection.is_gone for client in pair] == [True, True]
    for client in pair:
        client.peer.take_all()
        assert client.peer.code == 1012


def test_stop_waits_for_what_is_being_read_for_streams(history, bus, greenlets):
    events = FakeEvents()
    realtime = Realtime(history, events, bus, sockets_max=3)
    realtime.start()
    events.hang()
    stream = StreamSubscription(FakeSocket(), 0, 1, FakeListener())
    realtime.feed.join(stream, 0)
    settle()

    stop = gevent.spawn(realtime.stop, nothing)
    realtime.feed.leave(stream)
    settle()
    assert not stop.dead

    events.answer()
    until(lambda: stop.dead)
    assert not realtime.feed.is_reading


def test_second_stop_waits_for_the_first(realtime, pair, monkeypatch):
    monkeypatch.setattr("app.realtime.STOP_SECONDS", 0.05)
    finished = Event()
    first = gevent.spawn(realtime.stop, finished.wait)
    settle()

    second = gevent.spawn(realtime.stop, nothing)
    second.join(0.2)  # longer than a goodbye: it would hang up on those who have had none
    assert [client.connection.is_open for client in pair] == [True, True]

    finished.set()
    until(lambda: first.dead and second.dead)
    for client in pair:
        client.peer.take_all()
        assert client.peer.code == 1012


def test_socket_that_opens_while_the_worker_stops_gets_a_close_frame(realtime, pair, monkeypatch):
    """Its handshake began when there was room, and took until now."""
    monkeypatch.setattr("app.realtime.STOP_SECONDS", 1)
    stop = gevent.spawn(realtime.stop, nothing)
    settle()

    with Client(realtime, ROOM) as late:
        late.peer.take_until(lambda: late.peer.code or late.peer.is_at_end)
        for client in pair:
            client.connection.abort()
        late.connection.abort()
        until(lambda: stop.dead)

        assert late.peer.code == 1012


# Chance


@dataclass
class World:
    """Rooms, sockets and publications, and what each socket has to receive."""

    history: FakeHistory = field(default_factory=FakeHistory)
    publications: list[Publication] = field(default_factory=list)  # not published yet
    handshakes: list[tuple[int, int, int]] = field(default_factory=list)
    sockets: list[tuple[FakeSocket, int, int]] = field(default_factory=list)
    repeats: list[tuple[FakeSocket, int]] = field(default_factory=list)

    def __post_init__(self):
        self.hub = Hub(self.history, FakeEvents(), MemoryBus())

    # Each of these is a thing that may happen; `number` decides what there is to decide.

    def commit_and_ring(self, number):
        self.hub.publish([self.history.commit(1 + number % 2)])

    def commit_batch(self, number):
        self.hub.publish([self.history.commit(1 + (number >> bit) % 2) for bit in range(3)])

    def commit_and_ring_later(self, number):
        self.publications.append(self.history.commit(1 + number % 2))

    def commit_and_lose_the_ring(self, number):
        self.history.commit(1 + number % 2)

    def ring_late(self, number):
        if self.publications:
            self.hub.publish([self.publications.pop(number % len(self.publications))])

    def ring_twice(self, number):
        if self.publications:
            publication = self.publications[number % len(self.publications)]
            self.hub.publish([publication, publication] if number % 2 else [publication])

    def ring_backwards(self, number):
        self.hub.publish(self.publications[::-1])

    def ring_without_payload(self, number):
        if self.publications:
            self.hub.publish([self.publications.pop()._replace(payload=None)])

    def reconcile(self, number):
        gevent.spawn(self.hub.reconcile)

    def shake_hands(self, number):
        room_id = 1 + number % 2
        latest = self.history.newest(room_id)
        after = latest if number % 3 == 0 else number % (latest + 1)
        self.handshakes.append((room_id, latest, after))

    def join(self, number):
        if self.handshakes:
            room_id, latest, after = self.handshakes.pop(0)
            ear = FakeSocket()
            ear.subscription = self.hub.join(ear, room_id, latest, after)
            self.sockets.append((ear, room_id, after))

    def leave(self, number):
        if self.sockets:
            ear, room_id, _ = self.sockets.pop(number % len(self.sockets))
            ear.is_open = False
            leave(self.hub, ear, room_id)

    def repeat(self, number):
        if self.sockets:
            ear, room_id, _ = self.sockets[number % len(self.sockets)]
            ids = self.history.ids(room_id)
            if ids:
                message_id = int(ids[number % len(ids)])
                channel = self.hub.channels[room_id]
                channel.resend(ear.subscription, message_id, f"{message_id} again".encode())
                self.repeats.append((ear, message_id))

    def hang(self, number):
        self.history.hang()

    def answer(self, number):
        self.history.answer()

    def fail(self, number):
        self.history.errors.append(HistoryUnavailableError("the database is away"))

    def turn(self, number):
        settle(1 + number % 4)

    # What must hold

    def check(self):
        """Everybody has heard the beginning of what there is to hear, in order."""
        for ear, room_id, after in self.sockets:
            on_text = [text for text in ear.texts if "again" not in text]
            assert on_text == self.history.ids(room_id, after)[: len(on_text)]
            for position, text in enumerate(ear.texts):
                if "again" in text:
                    older = self.history.ids(room_id, after)
                    older = [id_ for id_ in older if int(id_) <= int(text.split()[0])]
                    assert set(older) <= set(ear.texts[:position])

    def check_end(self):
        """All clients have received everything after the database responds and was reconciled."""
        self.history.errors.clear()
        self.history.answer()
        settle(40)
        self.hub.reconcile()
        settle(40)
        self.check()
        for ear, room_id, after in self.sockets:
            assert [text for text in ear.texts if "again" not in text] == self.history.ids(
                room_id, after
            )
            again = sorted(text for text in ear.texts if "again" in text)
            said = sorted(f"{id_} again" for other, id_ in self.repeats if other is ear)
            assert again == said
        assert set(self.hub.channels) == {room_id for _, room_id, _ in self.sockets}


EVENTS = [
    World.commit_and_ring,
    World.commit_batch,
    World.commit_and_ring_later,
    World.commit_and_lose_the_ring,
    World.ring_late,
    World.ring_twice,
    World.ring_backwards,
    World.ring_without_payload,
    World.reconcile,
    World.shake_hands,
    World.join,
    World.leave,
    World.repeat,
    World.hang,
    World.answer,
    World.fail,
    World.turn,
]


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 255)), max_size=60))
@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_every_socket_receives_everything_once_and_in_order_whatever_happens(
    monkeypatch, happenings
):
    monkeypatch.setattr("app.realtime.channel.sleep", lambda _seconds: gevent.sleep(0))
    world = World()
    for event, number in [(World.shake_hands, 0), (World.join, 0), *happenings]:
        event(world, number)
        world.check()
    world.check_end()
