"""One socket over real descriptors: what arrives at the other end, whoever is slow, rude or gone."""

import gc
import os
import resource
import socket
import struct
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import gevent
import pytest
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from app.realtime import closing
from app.realtime.connection import (
    CLOSE_SECONDS,
    GONE,
    OUTBOX_BYTES,
    PING_SECONDS,
    REFUSED_BYTES,
    REFUSED_SECONDS,
    SILENCE_SECONDS,
    SMALL_FRAMES_MAX,
    SMALL_FRAMES_PER_SECOND,
    STALL_SECONDS,
    Connection,
)
from app.realtime.frames import MESSAGE_MAX_BYTES, text_frame
from tests.fakes import FakeListener, Peer, faultless_loop, settle, until

DESCRIPTORS = Path("/proc/self/fd")
ROOT = Path(__file__).parent.parent.parent


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def _loop():
    with faultless_loop():
        yield


@pytest.fixture
def clock(monkeypatch):
    """The time as connections see it."""
    clock = Clock()
    monkeypatch.setattr("app.realtime.connection.monotonic", clock)
    return clock


def socketpair():
    """Return both ends of a connected socket that takes little at a time."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return ours, theirs


def tcp_pair():
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


@pytest.fixture
def dial():
    """Return a function that opens a connection: `connection, listener, peer = dial()`."""
    opened = []

    def dial(ends=None, listener=None):
        ours, theirs = ends or socketpair()
        ours.setblocking(False)
        listener = listener or FakeListener()
        connection = Connection(ours.detach(), listener)
        peer = Peer(theirs)
        opened.append((connection, peer))
        return connection, listener, peer

    yield dial
    for connection, peer in opened:
        connection.abort()
        peer.socket.close()


def letters(size, letter="x"):
    return letter * size


def send_text(connection, *texts):
    for text in texts:
        connection.send_text(text.encode())


def stall(connection):
    """Offer so much that the kernel cannot take it all; return it."""
    text = letters(300_000)
    send_text(connection, text)
    assert connection.waiting > 0
    return text


# Out


@pytest.mark.parametrize("piece", [1_000, 4_096, 65_536])
def test_frames_arrive_whole_and_in_order_however_little_the_kernel_takes(dial, piece):
    connection, _, peer = dial()
    sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000, 3, 70_000, 0, 5]
    texts = [letters(size, letter) for size, letter in zip(sizes, "abcdefghijkl", strict=True)]

    send_text(connection, *texts)
    assert connection.waiting > 0
    peer.take_until(lambda: len(peer.texts) == len(texts), piece)

    assert peer.texts == texts
    assert connection.waiting == 0


def test_more_frames_than_one_system_call_takes_keep_their_order(dial):
    connection, _, peer = dial()
    texts = [stall(connection), *map(str, range(1_000))]

    send_text(connection, *texts[1:])
    peer.take_until(lambda: len(peer.texts) == len(texts))

    assert peer.texts == texts


def test_frames_offered_while_others_wait_come_after_them(dial):
    connection, _, peer = dial()
    texts = []

    for round_ in range(50):
        text = letters(10_000, chr(ord("a") + round_ % 26))
        texts.append(text)
        send_text(connection, text)
        peer.take(7_000)  # less than is offered, so something always waits
        settle(1)
    peer.take_until(lambda: len(peer.texts) == len(texts))

    assert peer.texts == texts


def test_reader_that_lets_too_much_wait_is_closed_after_the_frame_that_it_has_half(dial):
    connection, listener, peer = dial()
    texts = [letters(60_000, chr(ord("a") + number)) for number in range(26)]
    worst = 0

    for text in texts:
        send_text(connection, text)
        worst = max(worst, connection.waiting)
    until(lambda: peer.take() or peer.code)
    peer.take_until(lambda: peer.code)
    peer.say_goodbye(peer.code)
    peer.take_all()

    assert worst <= OUTBOX_BYTES
    assert peer.texts == texts[: len(peer.texts)] != []
    assert peer.code == closing.SLOW_READER.code
    assert listener.codes == [closing.SLOW_READER.code]


def test_reader_that_has_no_half_frame_is_closed_as_well(dial):
    connection, _, peer = dial()
    for _ in range(10_000):  # frames so small that the kernel takes each whole or not at all
        send_text(connection, "x")
        if connection.waiting:
            break
    send_text(connection, *[letters(100_000)] * 11)

    peer.take_until(lambda: peer.code)

    assert peer.code == closing.SLOW_READER.code


def test_nothing_is_sent_after_the_close_frame(dial):
    connection, _, peer = dial()

    connection.close(closing.RESTARTING)
    send_text(connection, "too late")
    peer.take_until(lambda: peer.code)
    settle()
    peer.take()

    assert peer.texts == []


def test_close_sends_its_frame_after_what_was_offered(dial):
    connection, listener, peer = dial()
    text = stall(connection)

    send_text(connection, "last")
    connection.close(closing.RESTARTING)
    peer.take_until(lambda: peer.code)
    peer.say_goodbye(1012)
    peer.take_all()

    assert peer.texts == [text, "last"]
    assert peer.code == 1012
    assert listener.codes == [1012]


def test_only_the_first_close_counts(dial):
    connection, listener, peer = dial()

    connection.close(closing.NO_SUCH_ROOM)
    connection.close(closing.RESTARTING)
    peer.take_until(lambda: peer.code)
    peer.say_goodbye()
    peer.take_all()
    connection.close(closing.RESTARTING)
    connection.abort()

    assert peer.code == 4404
    assert listener.codes == [4404]


# In


def test_texts_are_heard_in_order_however_they_are_cut(dial):
    connection, listener, peer = dial()
    stream = bytearray()
    peer.socket, wire = _Wire(stream), peer.socket
    texts = ["a", letters(70_000), "", "Ж" * 200, "z"]
    for text in texts:
        peer.send_text(text)

    for start in range(0, len(stream), 999):
        until(lambda: _sent(wire, stream[start : start + 999]))  # noqa: B023 - called at once
    until(lambda: len(listener.texts) == len(texts))
    peer.socket = wire

    assert listener.texts == texts
    assert connection.is_open


class _Wire:
    """Takes the place of a socket to see what would be sent."""

    def __init__(self, stream):
        self.send = stream.extend


def _sent(wire, data):
    try:
        assert wire.send(data) == len(data)
    except BlockingIOError:
        return False
    return True


def test_ping_is_answered_with_its_payload(dial):
    _, listener, peer = dial()

    peer.ping(b"are you there?")
    peer.take_until(lambda: peer.pongs)

    assert peer.pongs == [b"are you there?"]
    assert listener.texts == []


def test_client_that_pings_and_never_reads_costs_no_more_than_an_outbox(dial):
    connection, _, peer = dial()
    stall(connection)
    pings = memoryview(peer.protocol.send(Ping()) * 100_000)
    tracemalloc.start()

    while pings and connection.is_open:
        try:
            pings = pings[peer.socket.send(pings) :]
        except BlockingIOError:
            settle(1)
    settle()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < OUTBOX_BYTES


def test_of_several_pings_in_one_read_the_newest_is_answered(dial):
    connection, _, peer = dial()
    peer.socket.send(b"".join(peer.protocol.send(Ping(payload=b"%d" % n)) for n in range(5)))

    peer.take_until(lambda: peer.pongs)
    settle()
    peer.take()

    assert peer.pongs == [b"4"]
    assert connection.is_open


@pytest.mark.parametrize(
    "opcode", [b"\x89", b"\x8a", b"\x00"], ids=["ping", "pong", "empty fragment"]
)
def test_flood_of_frames_that_are_no_messages_closes_the_socket(dial, clock, opcode):
    connection, listener, peer = dial()
    frame = opcode + b"\x80\0\0\0\0"
    if opcode == b"\x00":
        peer.socket.send(b"\x01" + frame[1:])  # a text begins
        settle()
        clock.now += 1

    peer.socket.send(frame * SMALL_FRAMES_MAX)
    settle()
    assert connection.is_open
    peer.socket.send(frame)
    peer.take_until(lambda: peer.code)

    assert peer.code == 4429
    assert listener.texts == []


def test_client_that_pings_now_and_then_may_go_on(dial, clock):
    connection, _, peer = dial()
    for _ in range(2 * SMALL_FRAMES_MAX):
        clock.now += 1.01 / SMALL_FRAMES_PER_SECOND
        peer.ping()
        peer.take_until(lambda: connection._read_at == clock.now)

    assert connection.is_open


def test_refused_client_is_gone_soon_and_what_it_sends_is_thrown_away(dial, clock, monkeypatch):
    connection, _, peer = dial()
    fed = []
    monkeypatch.setattr(
        "app.realtime.frames.FrameReader.feed", lambda _, data: fed.append(len(data)) or ()
    )
    connection.refuse(closing.UNAUTHENTICATED)
    peer.take_until(lambda: peer.code)

    for _ in range(50):
        with suppress(BlockingIOError):
            peer.socket.send(b"x" * 1024)
        settle(2)
    connection.beat(clock.now + REFUSED_SECONDS - 0.1)
    assert not connection.is_gone
    connection.beat(clock.now + REFUSED_SECONDS)

    assert connection.is_gone
    assert sum(fed) <= REFUSED_BYTES


def test_client_that_answers_no_ping_is_found_out(dial, clock):
    connection, _, peer = dial()
    assert connection.is_answering

    clock.now += 1
    connection.probe()
    clock.now += 2
    connection.probe()  # which does not begin anew
    assert not connection.is_answering
    assert connection.unanswered_seconds == 2

    peer.take_until(lambda: peer.pings)
    peer.pong()
    until(lambda: connection.is_answering)
    assert connection.unanswered_seconds == 0


def test_texts_after_our_close_frame_are_ignored(dial):
    connection, listener, peer = dial()

    connection.close(closing.TOO_MANY)
    peer.send_text("but")
    peer.say_goodbye(4429)
    peer.take_all()

    assert listener.texts == []
    assert listener.codes == [4429]


def test_texts_after_the_close_frame_of_the_client_are_ignored(dial):
    _, listener, peer = dial()
    text = peer.protocol.send(TextMessage(data="and another thing"))

    peer.send_text("before")
    peer.socket.send(peer.protocol.send(CloseConnection(code=1000)) + text)
    peer.take_all()

    assert listener.texts == ["before"]


def test_listener_that_closes_gets_nothing_more_of_the_same_read(dial):
    class Strict(FakeListener):
        def on_text(self, text):
            super().on_text(text)
            connection.close(closing.TOO_MANY)

    connection, listener, peer = dial(listener=Strict())

    first, second = (peer.protocol.send(TextMessage(data=text)) for text in ("one", "two"))
    peer.socket.send(first + second)
    peer.take_until(lambda: peer.code)

    assert listener.texts == ["one"]
    assert peer.code == 4429


# Goodbyes


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
def test_close_frame_of_a_client_is_answered_with_its_code_and_the_connection_closed(dial, code):
    connection, listener, peer = dial()

    peer.say_goodbye(code)
    peer.take_all()

    assert peer.code == (code or 1005)
    assert listener.codes == [code or 1005]
    assert connection.is_gone


def test_close_frame_of_a_client_that_has_much_to_read_is_answered_after_that(dial):
    connection, listener, peer = dial()
    text = stall(connection)

    peer.say_goodbye(1001)
    until(lambda: not connection.is_open)
    peer.take_until(lambda: peer.code)

    assert peer.texts == [text]
    assert peer.code == 1001
    # Both have said goodbye: the server hangs up, at once and first (RFC 6455, 7.1.1).
    peer.take_all()
    assert listener.codes == [1001]


def unmasked(peer):
    peer.socket.send(text_frame(b"x"))


def binary(peer):
    peer.socket.send(peer.protocol.send(BytesMessage(data=b"x")))


def broken_text(peer):
    peer.socket.send(b"\x81\x81\0\0\0\0\xff")


def huge(peer):
    peer.socket.send(b"\x81\xff" + struct.pack("!Q", MESSAGE_MAX_BYTES + 1) + b"\0\0\0\0")


@pytest.mark.parametrize(
    ("rudeness", "code"), [(unmasked, 1002), (binary, 1003), (broken_text, 1007), (huge, 1009)]
)
def test_close_code_names_the_broken_rule_of_the_protocol(dial, rudeness, code):
    connection, listener, peer = dial()

    peer.send_text("polite")
    rudeness(peer)
    peer.take_until(lambda: peer.code)
    assert not connection.is_gone  # or what it has still to read might be lost with a reset
    peer.socket.close()
    until(lambda: listener.codes)

    assert listener.texts == ["polite"]
    assert peer.code == code
    assert listener.codes == [code]


def test_write_to_a_client_that_was_reset_ends_the_connection_quietly(dial):
    connection, listener, peer = dial(tcp_pair())
    connection.pause_reading()  # so that writing, not reading, finds it out

    reset(peer)
    until(lambda: send_text(connection, "anybody?") or connection.is_gone)
    send_text(connection, "nobody")

    assert listener.codes == [GONE]


# Every end of a connection, with the code that its listener is told.


def reset(peer):
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


def client_says_goodbye(_connection, peer, _clock):
    peer.say_goodbye(3000)


def client_vanishes(_connection, peer, _clock):
    peer.socket.close()


def client_is_reset(_connection, peer, _clock):
    peer.send_text("unread")
    reset(peer)


def client_breaks_the_protocol(_connection, peer, _clock):
    unmasked(peer)
    peer.socket.shutdown(socket.SHUT_WR)


def client_vanishes_amid_a_frame(_connection, peer, _clock):
    peer.socket.send(b"\x81\xff\0")
    peer.socket.close()


def client_falls_silent(connection, _peer, clock):
    connection.beat(clock.now + SILENCE_SECONDS)


def client_vanishes_with_a_full_outbox(connection, peer, _clock):
    stall(connection)
    peer.socket.close()


def we_say_goodbye_and_it_is_answered(connection, peer, _clock):
    connection.close(closing.RESTARTING)
    peer.say_goodbye(1012)


def we_say_goodbye_and_nobody_answers(connection, _peer, clock):
    connection.close(closing.RESTARTING)
    connection.beat(clock.now + CLOSE_SECONDS)


def we_say_goodbye_with_a_full_outbox_and_nobody_reads(connection, _peer, clock):
    stall(connection)
    connection.close(closing.RESTARTING)
    connection.beat(clock.now + CLOSE_SECONDS)


def client_stops_reading(connection, _peer, clock):
    stall(connection)
    connection.beat(clock.now + STALL_SECONDS)
    connection.beat(clock.now + STALL_SECONDS + CLOSE_SECONDS)


def we_hang_up(connection, _peer, _clock):
    connection.abort()
    connection.abort()


ENDS = [
    (client_says_goodbye, 3000),
    (client_vanishes, GONE),
    (client_is_reset, GONE),
    (client_breaks_the_protocol, 1002),
    (client_vanishes_amid_a_frame, GONE),
    (client_falls_silent, GONE),
    (client_vanishes_with_a_full_outbox, GONE),
    (we_say_goodbye_and_it_is_answered, 1012),
    (we_say_goodbye_and_nobody_answers, 1012),
    (we_say_goodbye_with_a_full_outbox_and_nobody_reads, 1012),
    (client_stops_reading, 4408),
    (we_hang_up, GONE),
]


@pytest.mark.parametrize(("end", "code"), ENDS)
def test_listener_gets_one_close_code(dial, clock, end, code):
    connection, listener, peer = dial(tcp_pair() if end is client_is_reset else None)

    end(connection, peer, clock)
    until(lambda: connection.is_gone)
    settle()
    connection.abort()
    connection.beat(clock.now + 10 * SILENCE_SECONDS)

    assert listener.codes == [code]
    assert connection.waiting == 0


def test_no_end_leaks_a_descriptor(clock):
    ends = [end for end, _ in ENDS if end is not client_is_reset]
    settle()
    before = len(list(DESCRIPTORS.iterdir()))

    for number in range(1_000):
        ours, theirs = socketpair()
        ours.setblocking(False)
        connection, peer = Connection(ours.detach(), FakeListener()), Peer(theirs)
        ends[number % len(ends)](connection, peer, clock)
        until(lambda: connection.is_gone)  # noqa: B023 - called at once
        theirs.close()

    assert len(list(DESCRIPTORS.iterdir())) == before


def test_what_happens_after_the_end_harms_nothing(dial):
    connection, listener, _ = dial()
    connection.abort()

    send_text(connection, "x")
    connection.close(closing.RESTARTING)
    connection.pause_reading()
    connection.resume_reading()
    connection.wait_drained()
    connection.beat(1e9)

    assert listener.codes == [GONE]


def test_resuming_a_held_connection_that_is_gone_does_no_harm():
    # In a process of its own, because libev ends one that watches a closed descriptor.
    script = """if True:
        import socket
        import gevent
        from app.realtime import Connection
        from tests.fakes import FakeListener

        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        connection = Connection(ours.detach(), FakeListener())
        connection.pause_reading()
        connection.abort()
        connection.resume_reading()  # the writer has stored what this client said
        gevent.sleep(0.01)
    """
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


# Holding


def test_held_client_is_not_read_until_it_is_resumed(dial):
    connection, listener, peer = dial()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    texts = []
    connection.pause_reading()

    with suppress(BlockingIOError):
        while len(texts) < 10_000:
            peer.send_text(f"{len(texts)}")
            texts.append(f"{len(texts)}")
    settle()
    assert len(texts) < 10_000  # it feels that nobody reads
    assert listener.texts == []

    connection.resume_reading()
    until(lambda: len(listener.texts) >= len(texts))
    peer.send_text("more")
    until(lambda: len(listener.texts) > len(texts))
    assert listener.texts == [*texts, "more"]


def test_client_that_is_not_read_still_receives(dial):
    connection, _, peer = dial()
    connection.pause_reading()
    text = stall(connection)

    peer.take_until(lambda: peer.texts)

    assert peer.texts == [text]


def test_held_client_is_not_given_up_because_we_do_not_listen(dial, clock):
    connection, _, peer = dial()
    connection.pause_reading()

    connection.beat(clock.now + SILENCE_SECONDS)
    clock.now += SILENCE_SECONDS
    connection.resume_reading()
    connection.beat(clock.now)
    peer.take()

    assert connection.is_open
    assert peer.pings == []


def test_held_client_that_we_close_may_send_its_close_frame(dial):
    connection, listener, peer = dial()
    connection.pause_reading()

    connection.close(closing.RESTARTING)
    peer.take_until(lambda: peer.code)
    peer.say_goodbye(1012)
    peer.take_all()

    assert listener.codes == [1012]


# Time


def beat_each_second(connection, clock, seconds):
    for _ in range(int(seconds)):
        clock.now += 1
        connection.beat(clock.now)


def test_silent_client_is_asked_and_then_given_up(dial, clock):
    connection, listener, peer = dial()

    beat_each_second(connection, clock, PING_SECONDS - 1)
    peer.take()
    assert peer.pings == []

    beat_each_second(connection, clock, PING_SECONDS)
    peer.take()
    assert peer.pings == [b""]

    beat_each_second(connection, clock, SILENCE_SECONDS - 2 * PING_SECONDS)
    peer.take()
    assert peer.pings == [b"", b""]
    assert connection.is_open

    beat_each_second(connection, clock, 1)
    assert listener.codes == [GONE]


@pytest.mark.parametrize("sign", [Peer.pong, Peer.ping, lambda peer: peer.send_text("here")])
def test_any_sign_of_life_keeps_a_connection(dial, clock, sign):
    connection, _, peer = dial()
    beat_each_second(connection, clock, SILENCE_SECONDS - 1)

    sign(peer)
    until(lambda: connection._read_at == clock.now)  # nothing else can be waited for
    beat_each_second(connection, clock, SILENCE_SECONDS - 1)

    assert connection.is_open


def test_reader_that_takes_nothing_is_closed_in_time(dial, clock):
    connection, _, peer = dial()
    text = stall(connection)

    send_text(connection, "this one was never begun")
    connection.beat(clock.now + STALL_SECONDS - 1)
    assert connection.is_open
    connection.beat(clock.now + STALL_SECONDS)
    peer.take_until(lambda: peer.code)

    assert peer.texts == [text]
    assert peer.code == closing.SLOW_READER.code


def test_reader_that_takes_a_little_has_time_again(dial, clock):
    connection, _, peer = dial()
    stall(connection)
    waiting = connection.waiting

    clock.now += STALL_SECONDS - 1
    until(lambda: peer.take(8_192) and connection.waiting < waiting)
    connection.beat(clock.now + STALL_SECONDS - 1)

    assert connection.is_open


# Waiting


def test_drain_is_waited_for(dial):
    connection, _, peer = dial()
    stall(connection)
    waiter = gevent.spawn(connection.wait_drained)
    settle()
    assert not waiter.dead

    peer.take_until(lambda: waiter.dead)

    assert connection.waiting == 0


@pytest.mark.parametrize(
    "end",
    [
        Connection.abort,
        lambda connection: connection.offer(text_frame(b"x" * OUTBOX_BYTES)),
        lambda connection: connection.close(closing.RESTARTING),
    ],
    ids=["abort", "too much", "close"],
)
def test_nobody_waits_for_a_closed_connection(dial, end):
    connection, _, _ = dial()
    stall(connection)
    waiter = gevent.spawn(connection.wait_drained)
    settle()

    end(connection)

    until(lambda: waiter.dead)


# Cost


@pytest.mark.slow
def test_idle_connection_costs_little_memory():
    count = 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4_096), hard), hard))
    pairs = [socket.socketpair() for _ in range(count)]
    listener = FakeListener()
    connections = []
    for ours, theirs in pairs:
        ours.setblocking(False)
        theirs.setblocking(False)
    try:
        gc.collect()
        tracemalloc.start()
        connections += [Connection(os.dup(ours.fileno()), listener) for ours, _ in pairs]
        for connection in connections:
            send_text(connection, "one that went through")
        settle()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for connection in connections:
            connection.abort()
        for pair in pairs:
            for end in pair:
                end.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert held / count < 4 * 1024


# Defects of ours


def test_defect_while_a_text_is_received_closes_that_socket_and_is_logged_once(dial, caplog):
    _, listener, peer = dial()

    def stumble(text):
        raise RuntimeError("a defect")

    listener.on_text = stumble
    peer.send_text("one")
    peer.take_until(lambda: peer.code)

    assert peer.code == 1011
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_defect_while_a_socket_is_forgotten_does_not_reach_those_who_wrote_to_it(dial, caplog):
    connection, listener, _ = dial()

    def stumble(code):
        raise RuntimeError("a defect")

    listener.closed = stumble
    connection.abort()

    assert connection.is_gone
    assert [record.levelname for record in caplog.records] == ["ERROR"]
