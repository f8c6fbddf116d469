"""The bench's judgement: right runs are right, and whatever is tampered with is found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.arena import SQLITE, Arena
from bench.contestants import BY_KEY
from bench.load import Socket
from bench.stream_talk import StreamChatter
from bench.talk import Chatter, Talk
from tests.delivery.checker import Rule

pytestmark = pytest.mark.server


@contextmanager
def finished_talk(kind: type[Chatter]) -> Iterator[Talk]:
    """Yield a talk on a real server that has come to its end; the server still answers."""
    with Arena(rooms=2) as arena, arena.stage(BY_KEY["beseda"], SQLITE) as stage:
        talk = Talk(stage, kind=kind)
        talk.open([(room, member) for room in stage.rooms for member in room.members])
        for chatter in talk.chatters:
            chatter.chat()
        talk.loop.wait(lambda: len(talk.lines) >= 40, "some talk")
        talk.finish()
        yield talk
        talk.close()


@pytest.fixture(scope="module")
def finished() -> Iterator[Talk]:
    """A talk by sockets of rooms."""
    with finished_talk(Chatter) as talk:
        yield talk


@pytest.fixture
def talk(finished: Talk) -> Iterator[Talk]:
    """The same, to be tampered with."""
    socket = finished.chatters[0].socket
    frames, lines = socket.frames[:], finished.lines[:]
    yield finished
    socket.frames, finished.lines, socket.is_open = frames, lines, True


def test_all_is_right_where_nothing_is_tampered_with(talk: Talk) -> None:
    assert talk.faults() == {}
    assert len(talk.acks()) == len(talk.lines) >= 40
    assert len(talk.delays()) == 2 * len(talk.lines)
    assert all(0 < delay < 60 for _, delay in talk.delays())


def test_all_is_right_over_streams() -> None:
    with finished_talk(StreamChatter) as talk:
        assert talk.faults() == {}
        assert len(talk.delays()) == 2 * len(talk.lines) >= 80


def _lose_last(socket: Socket) -> None:
    del socket.frames[-1]


def _lose_one_between(socket: Socket) -> None:
    del socket.frames[5]


def _double(socket: Socket) -> None:
    socket.frames.insert(6, socket.frames[5])


def _swap(socket: Socket) -> None:
    socket.frames[5:7] = reversed(socket.frames[5:7])


def _alter(socket: Socket) -> None:
    at, payload = socket.frames[5]
    socket.frames[5] = at, payload.replace(b'"timestamp":"2', b'"timestamp":"1')


def _invent(socket: Socket) -> None:
    at, payload = socket.frames[-1]
    socket.frames.append((at, payload.replace(b'"id":', b'"id":999')))


@pytest.mark.parametrize(
    ("tamper", "rule"),
    [
        (_lose_last, Rule.LOST),
        (_lose_one_between, Rule.GAP),
        (_double, Rule.DOUBLED),
        (_swap, Rule.OUT_OF_ORDER),
        (_alter, Rule.DELIVERED_OTHERWISE),
        (_invent, Rule.DELIVERED_UNSTORED),
    ],
)
def test_what_a_socket_did_not_get_as_it_is_stored_is_found(
    talk: Talk, tamper: Callable[[Socket], None], rule: Rule
) -> None:
    tamper(talk.chatters[0].socket)

    assert str(rule) in talk.faults()


def test_what_is_stored_although_nobody_said_it_is_found(talk: Talk) -> None:
    del talk.lines[-1]

    assert talk.faults()[str(Rule.STORED_UNSAID)] == 1


def test_refusals_and_closed_sockets_are_found(talk: Talk) -> None:
    socket = talk.chatters[0].socket
    socket.frames.append((socket.frames[-1][0], b'{"id": null, "error": {"code": "overloaded"}}'))
    socket.is_open = False

    faults = talk.faults()

    assert faults["refused"] == faults["socket closed"] == 1
