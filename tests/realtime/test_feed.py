"""The streams of a worker: what publications bring, what is read, and who gets it.

The last test lets chance decide in what order all of it happens.
"""

import random
from dataclasses import dataclass, field

import gevent
import pytest
from gevent.event import Event

from app.realtime import HistoryUnavailableError, Publication, StreamSubscription
from app.realtime.feed import BEAT_SECONDS, EARLY_SECONDS, PAGE, REPLAYS_MAX, SIGNAL_BYTES, Feed
from app.realtime.pace import Pace
from app.realtime.stats import Stats
from tests.fakes import FakeEvents, FakeSocket, faultless_loop, settle, until

ROOM, OTHER_ROOM = 7, 8
ANN, BOB, EVE = 1, 2, 3


class Client:
    """Somebody's stream, and what it was told."""

    def __init__(self, feed, user_id, after=None, most=None, **how):
        self.socket = FakeSocket(**how)
        self.cursors = []  # of `on_cursor`
        self.ready = self.reset = self.beat = None
        self.feed = feed
        self.latest = feed._source.newest
        cursor = self.latest if after is None else after
        self.stream = StreamSubscription(self.socket, cursor, user_id, self, most)

    def join(self):
        self.feed.join(self.stream, self.latest)
        return self

    def leave(self):
        self.socket.is_open = False
        self.feed.leave(self.stream)

    @property
    def texts(self):
        return self.socket.texts

    def on_ready(self, cursor):
        assert self.ready is None
        self.ready = cursor

    def on_reset(self, cursor):
        self.reset = cursor

    def on_cursor(self, cursor):
        self.cursors.append(cursor)

    def on_beat(self, cursor):
        self.beat = cursor


@pytest.fixture(autouse=True)
def _loop():
    with faultless_loop():
        yield


@pytest.fixture
def events():
    """Ann and Bob share a room; Eve has one with Bob."""
    events = FakeEvents()
    for room_id, user_id in ((ROOM, ANN), (ROOM, BOB), (OTHER_ROOM, BOB), (OTHER_ROOM, EVE)):
        events.join(room_id, user_id)
    return events


@pytest.fixture
def feed(events):
    return Feed(events, Stats(), Pace())


def open_live(feed, *user_ids):
    """Return streams that are live."""
    clients = [Client(feed, user_id).join() for user_id in user_ids]
    until(lambda: all(client.ready is not None for client in clients))
    settle()
    return clients


def warm(feed, events, room_id=ROOM):
    """Let the members of a room be known."""
    feed.publish([events.commit(room_id, b"first")])
    until(lambda: feed.cursor == events.newest)


def test_message_of_a_known_room_is_delivered_to_its_members_without_a_question(feed, events):
    ann, bob, eve = open_live(feed, ANN, BOB, EVE)
    warm(feed, events)
    asked = events.questions

    feed.publish([events.commit(ROOM), events.commit(ROOM)])

    assert ann.texts == bob.texts == ["first", "6", "7"]
    assert eve.texts == []
    assert events.questions == asked
    assert ann.cursors == [5, 6, 7]


def test_publication_that_was_delivered_is_dropped(feed, events):
    (ann,) = open_live(feed, ANN)
    warm(feed, events)
    publication = events.commit(ROOM)

    feed.publish([publication])
    feed.publish([publication, publication])
    settle()

    assert ann.texts == ["first", "6"]


def test_publication_waits_for_those_before_it(feed, events):
    (ann,) = open_live(feed, ANN)
    warm(feed, events)
    asked = events.questions
    first, second, third = (events.commit(ROOM) for _ in range(3))

    feed.publish([third])
    feed.publish([second])
    assert ann.texts == ["first"]
    feed.publish([first])

    assert ann.texts == ["first", "6", "7", "8"]
    gevent.sleep(2 * EARLY_SECONDS)
    assert events.questions == asked


def test_what_does_not_come_in_time_is_read(feed, events):
    (ann,) = open_live(feed, ANN)
    warm(feed, events)
    events.commit(ROOM)  # whose publication is lost

    feed.publish([events.commit(ROOM)])
    until(lambda: len(ann.texts) == 3)

    assert ann.texts == ["first", "6", "7"]


def test_number_that_is_never_used_costs_a_moment_and_no_message(feed, events):
    (ann,) = open_live(feed, ANN)
    warm(feed, events)
    events.skip()

    feed.publish([events.commit(ROOM)])
    until(lambda: len(ann.texts) == 2)

    assert ann.texts == ["first", "7"]


def test_reconciliation_finds_what_was_never_published(feed, events):
    (ann,) = open_live(feed, ANN)
    events.commit(ROOM)

    feed.reconcile()
    until(lambda: ann.texts)

    assert ann.texts == ["5"]


def test_whoever_is_removed_gets_nothing_after_it_and_whoever_joins_everything(feed, events):
    ann, bob, eve = open_live(feed, ANN, BOB, EVE)
    warm(feed, events)

    feed.publish(
        [
            events.leave(ROOM, BOB),
            events.commit(ROOM),
            events.join(ROOM, EVE),
            events.commit(ROOM),
        ]
    )
    until(lambda: feed.cursor == events.newest)

    assert ann.texts == ["first", "7", "9"]
    assert bob.texts == ["first", "left"]
    assert eve.texts == ["joined", "9"]


def test_stream_resumes_after_its_cursor_and_then_is_live(feed, events):
    open_live(feed, BOB)
    missed = [events.commit(ROOM) for _ in range(2 * PAGE + 5)]
    feed.publish(missed)

    ann = Client(feed, ANN, after=missed[0].id).join()
    until(lambda: ann.ready is not None)
    feed.publish([events.commit(ROOM, b"live")])
    until(lambda: ann.texts[-1] == "live")

    assert ann.texts == events.texts(ANN, missed[0].id)
    assert ann.ready == missed[-1].id


def test_stream_becomes_live_while_others_write_without_a_pause(feed, events):
    (bob,) = open_live(feed, BOB)
    warm(feed, events)
    is_over = False

    def write():
        while not is_over:
            feed.publish([events.commit(ROOM)])
            gevent.sleep(0)

    writer = gevent.spawn(write)
    ann = Client(feed, ANN, after=0).join()
    until(lambda: ann.ready is not None and len(ann.texts) > 100)
    is_over = True
    writer.join()
    until(lambda: feed.cursor == events.newest)

    assert ann.texts == events.texts(ANN)
    assert bob.texts == events.texts(BOB, 4)


def test_what_is_published_while_a_stream_reads_follows_what_it_read(feed, events, monkeypatch):
    (bob,) = open_live(feed, BOB)
    warm(feed, events)
    has_read, may_answer = Event(), Event()
    read = events.events_after

    def read_slowly(*args):
        page = read(*args)
        has_read.set()
        may_answer.wait()
        return page

    monkeypatch.setattr(events, "events_after", read_slowly)
    ann = Client(feed, ANN, after=0).join()
    until(has_read.is_set)
    settle()
    feed.publish([events.commit(ROOM)])
    assert bob.texts == ["first", "6"]
    may_answer.set()
    until(lambda: ann.ready is not None)

    assert ann.ready == 5
    assert ann.texts == events.texts(ANN)


def test_only_so_many_streams_replay_at_a_time(feed, events):
    open_live(feed, BOB)
    events.commit(ROOM)
    events.hang()
    clients = [Client(feed, ANN, after=0).join() for _ in range(REPLAYS_MAX + 3)]
    asked = events.questions
    settle()

    assert events.questions - asked <= REPLAYS_MAX + 1  # and the worker's own look
    events.answer()
    until(lambda: all(client.ready is not None for client in clients))


def test_stream_that_left_before_its_turn_is_not_read_for(feed, events):
    open_live(feed, BOB)
    events.hang()
    clients = [Client(feed, ANN, after=0).join() for _ in range(REPLAYS_MAX + 3)]
    settle()
    asked = events.questions
    for client in clients:
        client.leave()
    events.answer()
    settle()

    assert events.questions == asked
    assert feed.live.keys() == {BOB}


def test_worker_that_is_up_to_date_looks_for_nothing_when_a_stream_joins(feed, events, monkeypatch):
    open_live(feed, BOB)
    looks = []
    monkeypatch.setattr(events, "events_between", lambda *asked: looks.append(asked))

    open_live(feed, ANN)

    assert looks == []


def test_slow_reader_of_a_replay_keeps_nobody_waiting(feed, events):
    for _ in range(20):
        events.commit(ROOM, b"x" * 60_000)
    slow = [Client(feed, ANN, after=0, reads=False).join() for _ in range(REPLAYS_MAX + 1)]
    until(lambda: all(client.socket.waiting for client in slow))

    bob = Client(feed, BOB, after=0).join()
    until(lambda: bob.ready is not None)

    assert all(client.socket.waiting < 200_000 for client in slow)

    def are_ready() -> bool:
        for client in slow:
            client.socket.drain()
        return all(client.ready is not None for client in slow)

    until(are_ready)
    assert all(client.texts == events.texts(ANN) for client in slow)


@pytest.mark.parametrize(
    ("missed", "most", "is_reset"), [(3, 3, False), (3, 2, True), (1, 0, True)]
)
def test_stream_that_missed_more_than_it_wants_is_reset(feed, events, missed, most, is_reset):
    after = events.newest
    for _ in range(missed):
        events.commit(ROOM)

    ann = Client(feed, ANN, after=after, most=most).join()
    until(lambda: ann.ready is not None)

    assert ann.reset == (events.newest if is_reset else None)
    assert ann.texts == ([] if is_reset else events.texts(ANN, after))


def test_replay_and_filling_go_on_when_the_database_is_back(feed, events, monkeypatch):
    monkeypatch.setattr("app.realtime.feed.RETRY_SECONDS", 0.001)
    events.errors += [HistoryUnavailableError("away")] * 5

    ann = Client(feed, ANN, after=0).join()
    until(lambda: ann.ready is not None)
    events.commit(ROOM)
    feed.reconcile()
    until(lambda: ann.texts == events.texts(ANN))


def test_quiet_stream_gets_a_heartbeat_with_the_cursor_of_the_worker(feed, events):
    ann, bob, eve = open_live(feed, ANN, BOB, EVE)
    warm(feed, events)

    sent_at = [client.stream.sent_at for client in (ann, bob, eve)]
    feed.beat(min(sent_at) + BEAT_SECONDS - 0.1)
    assert ann.beat is bob.beat is eve.beat is None
    feed.beat(max(sent_at) + BEAT_SECONDS)

    assert ann.beat == bob.beat == eve.beat == events.newest


def test_signals_reach_live_streams_unless_much_waits_for_them(feed, events):
    (ann,) = open_live(feed, ANN)
    slow = Client(feed, ANN, reads=False).join()
    until(lambda: slow.ready is not None)
    slow.socket.waiting = SIGNAL_BYTES + 1

    feed.signal([ANN, BOB], b"typing")

    assert ann.texts == ["typing"]
    assert slow.texts == []


def test_worker_without_streams_follows_nothing(feed, events):
    (ann,) = open_live(feed, ANN)
    warm(feed, events)
    ann.leave()
    asked = events.questions

    feed.publish([events.commit(ROOM), events.leave(ROOM, BOB)])
    feed.reconcile()
    settle()
    assert events.questions == asked

    bob, again = open_live(feed, BOB, ANN)
    feed.publish([events.commit(ROOM)])
    until(lambda: again.texts)
    assert bob.texts == []


# Whatever happens


@dataclass
class Play:
    """Two workers on one database, and whatever may happen to them."""

    events: FakeEvents = field(default_factory=FakeEvents)
    lost: list[Publication] = field(default_factory=list)

    def __post_init__(self):
        self.feeds = [Feed(self.events, Stats(), Pace()) for _ in range(2)]
        self.queues = [[], []]
        self.clients = []  # with what they had to begin with
        self.members = {(room_id, user_id) for room_id in (1, 2) for user_id in (1, 2, 3)}
        for room_id, user_id in sorted(self.members):
            self.events.join(room_id, user_id)

    def _published(self, publication, number):
        for queue in self.queues:
            queue += [publication] * ((1, 1, 1, 0, 2)[number % 5])

    def commit(self, number):
        self._published(self.events.commit(1 + number % 2), number // 2)

    def skip(self, number):
        self.events.skip()

    def move(self, number):
        room_id, user_id = 1 + number % 2, 1 + number % 3
        if (room_id, user_id) in self.members:
            self.members.remove((room_id, user_id))
            publication = self.events.leave(room_id, user_id)
        else:
            self.members.add((room_id, user_id))
            publication = self.events.join(room_id, user_id)
        self._published(publication, number // 6)

    def bring(self, number):
        queue = self.queues[number % 2]
        if queue:
            self.feeds[number % 2].publish([queue.pop(number // 2 % len(queue))])

    def bring_all(self, number):
        queue = self.queues[number % 2]
        self.feeds[number % 2].publish(queue)
        queue.clear()

    def join(self, number):
        client = Client(self.feeds[number % 2], 1 + number % 3)
        client.join()
        self.clients.append(client)

    def leave(self, number):
        if self.clients:
            self.clients.pop(number % len(self.clients)).leave()

    def reconcile(self, number):
        gevent.spawn(self.feeds[number % 2].reconcile)

    def hang(self, number):
        self.events.hang()

    def answer(self, number):
        self.events.answer()

    def turn(self, number):
        settle(1 + number % 4)

    def finish(self):
        self.events.answer()
        until(lambda: all(client.ready is not None for client in self.clients))
        for feed in self.feeds:
            until(lambda: feed.reconcile() or not feed.streams or feed.cursor >= self.events.newest)  # noqa: B023
        settle()

    def check(self):
        for client in self.clients:
            numbers = [int(text) for text in client.texts if text.isdigit()]
            assert numbers == sorted(set(numbers)), "in order, and once"
            user_id = client.stream.user_id
            told = [text for text in client.texts if text.isdigit()]
            # Members that left meanwhile may have got what was sent while they were there.
            assert set(self._due(user_id, client.latest)) <= set(told), user_id
            assert all(self._was_member(user_id, int(text)) for text in told)

    def _due(self, user_id, after):
        return [text for text in self.events.texts(user_id, after) if text.isdigit()]

    def _was_member(self, user_id, number):
        room_id = next(room for n, room, _ in self.events._events if n == number)
        changes = [
            change
            for n, change in sorted(self.events._changes.items())
            if change.room_id == room_id and change.user_id == user_id and n < number
        ]
        return bool(changes) and changes[-1].left_id is None


ACTS = (
    *("commit", "commit", "commit", "skip", "move"),
    *("bring", "bring", "bring", "bring", "bring_all"),
    *("join", "leave", "reconcile", "hang", "answer", "answer", "turn", "turn", "turn"),
)


@pytest.mark.parametrize("seed", range(40))
def test_every_stream_gets_what_is_due_once_and_in_order_whatever_happens(seed):
    chance = random.Random(seed)
    play = Play()
    for number in range(6):
        play.join(number)
    settle()
    for _ in range(300):
        getattr(play, chance.choice(ACTS))(chance.randrange(60))
    play.finish()

    play.check()
    for client in play.clients:
        client.leave()
