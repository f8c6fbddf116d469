"""One room: what publications bring, what they leave out, and what a socket makes of both."""

import socket

import gevent
import pytest

from app.messenger.models import MESSAGE_CHARS
from app.messenger.writer import BATCH_CHARS
from app.realtime import Connection, HistoryUnavailableError, Subscription
from app.realtime.channel import EARLY_MAX, EARLY_SECONDS, PAGE, PART_BYTES, REPLAY_BYTES, Channel
from app.realtime.connection import OUTBOX_BYTES
from app.realtime.stats import Stats
from tests.fakes import FakeListener, FakeSocket, Peer, settle, until

pytestmark = pytest.mark.usefixtures("loop")

ROOM = 7


@pytest.fixture
def impatient(monkeypatch):
    """Let a replay that failed be tried again soon."""
    monkeypatch.setattr("app.realtime.channel.RETRY_SECONDS", 0.001)


def talk(history, count, size=None):
    """Commit messages; return their publications."""
    return [history.commit(ROOM, size and b"x" * size) for _ in range(count)]


def open_channel(history):
    """Return the channel of a room that has been told everything so far."""
    return Channel(ROOM, history.newest(ROOM), history, Stats())


def join(channel, cursor=None, **how):
    """Return a socket that has joined a channel, from where it is or from another cursor."""
    ear = FakeSocket(**how)
    subscribe(channel, ear, channel.cursor if cursor is None else cursor)
    return ear


def subscribe(channel, ear, cursor=0):
    """Let a socket join a channel from a cursor on."""
    ear.subscription = Subscription(ear, cursor)
    channel.join(ear.subscription)


# Rings


def test_publication_that_follows_the_cursor_is_delivered_without_a_question(history):
    talk(history, 3)
    channel = open_channel(history)
    ears = [join(channel), join(channel)]

    channel.publish(talk(history, 1))
    channel.publish(talk(history, 2))

    assert [ear.texts for ear in ears] == [["4", "5", "6"]] * 2
    assert channel.cursor == 6
    assert history.questions == 0


@pytest.mark.parametrize("count", [1, 3])
def test_message_is_encoded_once_for_all_its_readers(history, count):
    class Keeper(FakeSocket):
        def offer(self, frame):
            frames.append(frame)

    frames = []
    channel = open_channel(history)
    for _ in range(3):
        subscribe(channel, Keeper())

    channel.publish(talk(history, count))

    assert len(frames) == 3
    assert all(frame is frames[0] for frame in frames)


def test_echo_is_dropped(history):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 3)
    channel.publish(publications)

    channel.publish(publications)
    channel.publish(publications[1:2])
    channel.publish([*publications[2:], *talk(history, 1)])  # one echo and one that is new
    settle()

    assert ear.texts == ["1", "2", "3", "4"]
    assert history.questions == 0


@pytest.mark.parametrize(
    "on_text",
    [
        pytest.param([2], id="the first lost"),
        pytest.param([0, 2], id="one lost between"),
        pytest.param([2, 1, 0], id="backwards"),
        pytest.param([1, 0, 2], id="two exchanged"),
        pytest.param([0, 0, 1, 1, 2, 2], id="each twice"),
        pytest.param([0, 1, 2, 0, 1, 2], id="all twice"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_gap_is_read_from_the_database(history, on_text, at_once):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 3)

    if at_once:
        channel.publish([publications[index] for index in on_text])
    else:
        for index in on_text:
            channel.publish([publications[index]])
    until(lambda: len(ear.texts) == 3)
    settle()

    assert ear.texts == ["1", "2", "3"]


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 0, 2], [1, 2, 0], [2, 0, 1], [1, 1, 0, 0, 2]])
def test_publications_that_overtake_each_other_wait_for_each_other(history, order):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 3)

    for index in order:
        channel.publish([publications[index]])

    assert ear.texts == ["1", "2", "3"]
    gevent.sleep(2 * EARLY_SECONDS)
    assert history.questions == 0


def test_publication_that_waits_in_vain_is_read_from_the_database(history):
    channel = open_channel(history)
    ear = join(channel)

    channel.publish(talk(history, 3)[1:2])

    assert ear.texts == []
    until(lambda: ear.texts == ["1", "2", "3"])
    assert history.questions == 1


def test_publication_that_came_while_a_gap_was_read_follows_it(history):
    channel = open_channel(history)
    ear = join(channel)
    talk(history, 2)
    history.hang()
    channel.backfill()
    settle()

    channel.publish(talk(history, 1))
    history.answer()
    until(lambda: ear.texts == ["1", "2", "3"])

    assert history.questions == 1


def test_publication_waits_for_nobody_when_all_have_left(history):
    channel = open_channel(history)
    ear = join(channel)
    channel.publish(talk(history, 2)[1:])

    channel.leave(ear.subscription)
    gevent.sleep(2 * EARLY_SECONDS)

    assert not channel._out_of_order
    assert not channel._is_awaiting
    assert history.questions == 0


def test_only_so_many_publications_wait(history):
    channel = open_channel(history)
    ear = join(channel)

    channel.publish(talk(history, EARLY_MAX + 2)[1:])
    settle()

    assert len(ear.texts) == EARLY_MAX + 2


def test_publication_without_its_payload_is_read_from_the_database(history):
    channel = open_channel(history)
    ear = join(channel)
    (publication,) = talk(history, 1)

    channel.publish([publication._replace(payload=None)])
    until(lambda: ear.texts)

    assert ear.texts == ["1"]


def test_gap_of_many_pages_is_filled(history):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 2 * PAGE + 1)

    channel.publish(publications[-1:])
    until(lambda: len(ear.texts) == len(publications))

    assert ear.texts == history.ids(ROOM)


def test_publications_while_a_gap_is_read_are_neither_lost_nor_doubled(history):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 3)
    history.hang()
    channel.publish(publications[2:])
    until(lambda: history.questions)

    channel.publish(talk(history, 1))  # after the question: its answer does not have this one
    channel.publish(publications[:2])
    history.answer()
    until(lambda: len(ear.texts) == 4)
    settle()

    assert ear.texts == ["1", "2", "3", "4"]


def test_publication_during_a_long_backfill_waits_its_turn(history):
    class Echoing(FakeSocket):
        def offer(self, frame):
            super().offer(frame)
            if len(self.texts) == 1:  # the first part of four is out
                gevent.spawn(channel.publish, talk(history, 1))

    channel = open_channel(history)
    ear = Echoing()
    subscribe(channel, ear)

    channel.publish(talk(history, 4, size=PART_BYTES)[3:])
    until(lambda: len(ear.texts) == 5)

    assert ear.texts == history.ids(ROOM)


def test_first_query_finds_what_was_sent_before_it(history):
    channel = open_channel(history)
    talk(history, 2)  # published before anybody here could receive it
    ear = join(channel)

    channel.backfill()
    until(lambda: len(ear.texts) == 2)

    assert ear.texts == ["1", "2"]


def test_first_query_that_finds_nothing_is_not_repeated(history):
    channel = open_channel(history)
    join(channel)

    channel.backfill()
    settle()

    assert history.questions == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_publication_during_the_first_query_is_delivered(history, count):
    channel = open_channel(history)
    ear = join(channel)
    history.hang()
    channel.backfill()
    until(lambda: history.questions)

    for _ in range(count):
        channel.publish(talk(history, 1))  # the look was too early for it, and nothing else follows
    history.answer()
    until(lambda: len(ear.texts) == count)
    settle()

    assert ear.texts == history.ids(ROOM)


def test_publication_during_a_failed_query_comes_with_the_next(history):
    channel = open_channel(history)
    ear = join(channel)
    history.hang()
    history.errors.append(HistoryUnavailableError("the database is away"))
    channel.backfill()
    until(lambda: history.questions)

    channel.publish(talk(history, 1))
    history.answer()
    settle()
    channel.publish(talk(history, 1))
    until(lambda: len(ear.texts) == 2)

    assert ear.texts == ["1", "2"]


def test_one_gap_is_read_once_however_often_it_is_published(history):
    channel = open_channel(history)
    join(channel)
    publications = talk(history, 50)

    for publication in publications[1:]:
        channel.publish([publication])
    until(lambda: channel.cursor == 50)

    assert history.questions == 1


def test_gap_that_cannot_be_read_is_found_by_the_next_fill(history):
    channel = open_channel(history)
    ear = join(channel)
    history.errors.append(HistoryUnavailableError("the database is away"))
    channel.publish(talk(history, 2)[1:])
    until(lambda: history.questions)
    settle()
    assert ear.texts == []

    channel.backfill()
    until(lambda: len(ear.texts) == 2)

    assert ear.texts == ["1", "2"]


def test_nothing_is_read_when_nobody_is_left(history):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 3 * PAGE)
    history.hang()
    channel.publish(publications[-1:])
    until(lambda: history.questions)

    channel.leave(ear.subscription)
    history.answer()
    settle()

    assert history.questions == 1
    assert ear.texts == []


# Joining


def test_socket_behind_gets_the_old_ones_first(history):
    talk(history, 5)
    channel = open_channel(history)
    history.hang()
    ear = join(channel, 2)
    until(lambda: history.questions)

    channel.publish(talk(history, 2))
    history.answer()
    until(lambda: len(ear.texts) == 5)
    channel.publish(talk(history, 1))

    assert ear.texts == ["3", "4", "5", "6", "7", "8"]


def test_socket_ahead_of_the_channel_receives_nothing_twice(history):
    talk(history, 2)
    channel = open_channel(history)
    early = join(channel)
    publications = talk(history, 3)  # nothing has been published here yet
    ear = join(channel, 4)

    channel.publish(publications)

    assert early.texts == ["3", "4", "5"]
    assert ear.texts == ["5"]


def test_socket_far_ahead_of_the_channel_receives_what_is_after_its_cursor(history):
    channel = open_channel(history)
    publications = talk(history, 3)
    ear = join(channel, 3)

    for publication in [*publications, *talk(history, 1)]:
        channel.publish([publication])

    assert ear.texts == ["4"]


def test_replay_of_many_pages_while_others_talk_has_no_gap_and_no_double(history):
    talk(history, 3 * PAGE)
    channel = open_channel(history)
    ear, other = join(channel, 0), join(channel)

    for _ in range(30):
        channel.publish(talk(history, 3))
        gevent.sleep(0)
    until(lambda: ear.cursor == channel.cursor)
    channel.publish(talk(history, 1))

    assert ear.texts == history.ids(ROOM)
    assert other.texts == history.ids(ROOM, after=3 * PAGE)


def test_replay_that_got_further_than_the_channel_skips_what_it_has(history):
    talk(history, 3)
    channel = open_channel(history)
    publications = talk(history, 2)
    ear = join(channel, 0)
    until(lambda: ear.cursor == 5)

    channel.publish(publications)
    channel.publish(talk(history, 1))

    assert ear.texts == history.ids(ROOM)


def test_replay_waits_for_its_reader(history):
    size = OUTBOX_BYTES // 8
    talk(history, 20, size)
    channel = open_channel(history)
    ear = join(channel, 0, reads=False)

    worst = 0
    for _ in range(100):
        worst = max(worst, ear.waiting)
        if ear.waiting > REPLAY_BYTES:
            ear.drain()
        settle(3)
        if len(ear.texts) == 20:
            break

    assert len(ear.texts) == 20
    assert worst <= REPLAY_BYTES + size  # and no more is held for it than that


def test_replay_of_far_more_than_an_outbox_reaches_a_slow_reader(history):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection, peer = Connection(ours.detach(), FakeListener()), Peer(theirs)
    talk(history, 60, 60_000)  # 3.6 MB
    channel = open_channel(history)

    channel.join(Subscription(connection, 0))
    while len(peer.texts) < 60:
        until(lambda: peer.take(16_384) or peer.code)
        assert peer.code is None
        if len(peer.texts) % 7 == 0:
            channel.publish(talk(history, 1, 10))  # others talk on meanwhile
    channel.publish(talk(history, 1, 10))
    peer.take_until(lambda: len(peer.texts) == len(history.ids(ROOM)))
    connection.abort()
    theirs.close()

    assert peer.texts == history.ids(ROOM)


def test_replay_goes_on_when_the_database_is_back(history, impatient):
    talk(history, PAGE + 1)
    channel = open_channel(history)
    history.errors += [HistoryUnavailableError("the database is away")] * 3

    ear = join(channel, 0)
    until(lambda: len(ear.texts) == PAGE + 1)

    assert ear.texts == history.ids(ROOM)


def test_replay_to_a_socket_that_is_closed_ends(history, impatient):
    talk(history, 3 * PAGE)
    channel = open_channel(history)
    history.hang()
    ear = join(channel, 0)
    until(lambda: history.questions)

    ear.is_open = False
    channel.leave(ear.subscription)
    history.answer()
    settle()

    assert ear.texts == []
    assert history.questions == 1
    assert channel.live == channel.members == set()


def test_socket_that_left_hears_nothing(history):
    channel = open_channel(history)
    gone, other = join(channel), join(channel)

    channel.leave(gone.subscription)
    channel.publish(talk(history, 1))

    assert gone.texts == []
    assert other.texts == ["1"]


def test_socket_that_leaves_because_of_a_delivery_disturbs_nobody(history):
    class Broken(FakeSocket):
        def offer(self, frame):  # as a connection whose write fails
            self.is_open = False
            channel.leave(self.subscription)

    channel = open_channel(history)
    ears = [join(channel) for _ in range(3)]
    broken = Broken()
    subscribe(channel, broken)
    channel.resend(broken.subscription, 1, b"1")

    channel.publish(talk(history, 2))

    assert [ear.texts for ear in ears] == [["1", "2"]] * 3
    assert broken.subscription not in channel.members


# A transaction as large as the writer makes it


def test_reader_that_reads_at_once_survives_the_largest_transaction(history):
    """JSON needs six bytes for the worst of characters, and nothing is read before it is out."""
    count = BATCH_CHARS // MESSAGE_CHARS + 1
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection, peer = Connection(ours.detach(), FakeListener()), Peer(theirs)
    channel = open_channel(history)
    channel.join(Subscription(connection, 0))

    channel.publish(talk(history, count, 6 * MESSAGE_CHARS))
    peer.take_until(lambda: len(peer.texts) == count or peer.code)
    connection.abort()
    theirs.close()

    assert peer.code is None
    assert len(peer.texts) == count


# Repeats


def test_repeat_of_what_a_socket_has_is_sent_at_once(history):
    channel = open_channel(history)
    ear, other = join(channel), join(channel)
    channel.publish(talk(history, 3))

    channel.resend(ear.subscription, 2, b"2 again")

    assert ear.texts == ["1", "2", "3", "2 again"]
    assert other.texts == ["1", "2", "3"]


def test_repeat_does_not_overtake_what_is_still_to_come(history):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 3)

    channel.resend(ear.subscription, 2, b"2 again")  # stored by another worker, whose ring is late
    assert ear.texts == []
    channel.publish(publications[:1])
    channel.publish(publications[1:])

    assert ear.texts == ["1", "2", "3", "2 again"]


def test_repeat_does_not_overtake_a_replay(history):
    talk(history, 2 * PAGE)
    channel = open_channel(history)
    history.hang()
    ear = join(channel, 0)
    until(lambda: history.questions)

    channel.resend(ear.subscription, 1, b"1 again")
    history.answer()
    until(lambda: "1 again" in ear.texts)

    assert ear.texts == [*history.ids(ROOM), "1 again"]


def test_repeats_keep_their_order_and_are_sent_once(history):
    channel = open_channel(history)
    ear = join(channel)
    publications = talk(history, 2)

    for again in (b"2 again", b"1 again", b"2 once more"):
        channel.resend(ear.subscription, int(again[:1]), again)
    channel.publish(publications)
    channel.publish(talk(history, 1))

    assert [text for text in ear.texts if "again" in text or "more" in text] == [
        "2 again",
        "1 again",
        "2 once more",
    ]


def test_repeat_to_a_socket_that_left_is_forgotten(history):
    channel = open_channel(history)
    ear, other = join(channel), join(channel)
    channel.resend(ear.subscription, 1, b"1 again")

    channel.leave(ear.subscription)
    channel.publish(talk(history, 1))

    assert ear.texts == []
    assert other.texts == ["1"]
