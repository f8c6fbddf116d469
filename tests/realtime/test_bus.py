"""What holds for one bus holds for all: rings reach the others, and nobody is held back."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.realtime import Bus, LineBus, MemoryBus, PostgresExchange, RedisExchange, Ring
from app.realtime.bus import pack, unpack

DEADLINE_SECONDS = 10
NOTIFICATION_BYTES = 8_000


def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Ear:
    """A worker on a bus: what it was rung, and how often it was told to look for itself."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.rings: list[Ring] = []
        self.recoveries = 0
        bus.start(self.rings.extend, self._recovered)

    def _recovered(self) -> None:
        self.recoveries += 1


@pytest.fixture(params=["redis", "postgresql"])
def new_bus(request: pytest.FixtureRequest) -> Iterator[Callable[[], Bus]]:
    """Make buses of one installation."""
    buses: list[Bus] = []
    url = request.getfixturevalue(f"{request.param}_url")
    channel = f"test:{secrets.token_hex(8)}"

    def make() -> Bus:
        exchange = (
            RedisExchange(url, channel)
            if request.param == "redis"
            else PostgresExchange(url.replace("+psycopg", ""), {})
        )
        buses.append(LineBus(exchange))
        return buses[-1]

    yield make
    for bus in buses:
        bus.stop()


def ring(message_id: int, payload: bytes = b'{"id":1}') -> Ring:
    return Ring(1, message_id - 1, message_id, payload)


def test_lonely_bus_is_well_and_tells_nobody() -> None:
    ear = Ear(MemoryBus())

    ear.bus.publish([ring(1)])

    assert ear.bus.is_well()
    assert ear.rings == []


def test_rings_reach_the_others_in_order_and_not_oneself(new_bus: Callable[[], Bus]) -> None:
    one, two, three = (Ear(new_bus()) for _ in range(3))
    until(lambda: all(ear.bus.is_well() for ear in (one, two, three)))

    for message_id in range(1, 101):
        one.bus.publish([ring(message_id)])

    until(lambda: len(two.rings) == len(three.rings) == 100)
    assert two.rings == three.rings == [ring(each) for each in range(1, 101)]
    assert one.rings == []


def test_whoever_is_alone_sends_no_rings_until_somebody_comes(
    new_bus: Callable[[], Bus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.realtime.bus.ALONE_SECONDS", 1.5)  # more than a beat
    one = Ear(new_bus())
    exchange = one.bus._exchange  # type: ignore[attr-defined]
    line = exchange.listening_line()
    until(lambda: one.bus.is_well() and one.bus._is_alone())  # type: ignore[attr-defined]

    one.bus.publish([ring(1)])
    heard = [message for _ in range(3) for message in line.receive()]
    line.close()
    assert heard  # beats
    assert all(unpack(message)[1] == [] for message in heard)

    two = Ear(new_bus())
    until(lambda: two.bus.is_well() and not one.bus._is_alone())  # type: ignore[attr-defined]
    one.bus.publish([ring(2)])
    until(lambda: two.rings == [ring(2)])


def test_becoming_well_is_told_once(new_bus: Callable[[], Bus]) -> None:
    ear = Ear(new_bus())
    assert not ear.bus.is_well()

    until(ear.bus.is_well)

    until(lambda: ear.recoveries == 1)


def test_any_text_arrives_unchanged(new_bus: Callable[[], Bus]) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.bus.is_well() and two.bus.is_well())
    payloads = ['{"content":"Привет! 👋"}'.encode(), b'{"content":"\\"\'\\\\ \xe2\x80\xa8 %s $1"}']

    one.bus.publish([ring(1, payloads[0]), ring(2, payloads[1])])

    until(lambda: len(two.rings) == 2)
    assert [each.payload for each in two.rings] == payloads


def test_message_too_large_for_the_bus_still_rings(new_bus: Callable[[], Bus]) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.bus.is_well() and two.bus.is_well())
    payload = b'{"content":"' + b"x" * 60_000 + b'"}'

    one.bus.publish([ring(1, payload)])

    until(lambda: len(two.rings) == 1)
    assert two.rings[0]._replace(payload=None) == ring(1, b"")._replace(payload=None)
    assert two.rings[0].payload in (payload, None)  # None: look into the database


def test_publishing_to_a_bus_that_is_not_there_holds_nobody_back() -> None:
    bus = LineBus(RedisExchange("redis://127.0.0.1:1/0", "nobody"))
    ear = Ear(bus)

    for message_id in range(1, 20_001):
        bus.publish([ring(message_id)])

    assert not bus.is_well()
    assert ear.rings == []
    bus.stop()


def test_bus_that_lost_its_connections_recovers_and_says_so(
    new_bus: Callable[[], Bus], request: pytest.FixtureRequest
) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.recoveries == two.recoveries == 1)

    _cut_connections(request)

    until(lambda: one.recoveries >= 2 and two.recoveries >= 2)
    until(lambda: one.bus.is_well() and two.bus.is_well())
    one.bus.publish([ring(7)])
    until(lambda: ring(7) in two.rings)


def _cut_connections(request: pytest.FixtureRequest) -> None:
    if "redis" in request.node.callspec.id:
        import redis

        with redis.from_url(request.getfixturevalue("redis_url")) as client:
            client.client_kill_filter(_type="pubsub")
            client.client_kill_filter(_type="normal", skipme=True)
    else:
        import psycopg

        with psycopg.connect(request.getfixturevalue("postgresql_url")) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_messages_are_never_larger_than_the_bus_carries(count: int) -> None:
    rings = [
        ring(each, b'{"c":"' + b"y" * (each * 37 % 9000) + b'"}') for each in range(1, count + 1)
    ]

    messages = list(pack("0" * 16, rings, NOTIFICATION_BYTES - 100))

    assert all(len(message) < NOTIFICATION_BYTES for message in messages)
    unpacked = [each for message in messages for each in unpack(message)[1]]
    assert [each.id for each in unpacked] == [each.id for each in rings]
    assert all(
        got.payload in (sent.payload, None) for got, sent in zip(unpacked, rings, strict=True)
    )
    assert {unpack(message)[0] for message in messages} == {"0" * 16}


def test_threads_may_publish_at_once(new_bus: Callable[[], Bus]) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.bus.is_well() and two.bus.is_well())
    barrier = threading.Barrier(4)

    def publish(start: int) -> None:
        barrier.wait()
        for message_id in range(start, start + 100):
            one.bus.publish([ring(message_id)])

    threads = [threading.Thread(target=publish, args=(start,)) for start in (1, 201, 401, 601)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    until(lambda: len(two.rings) == 400)
    assert len({each.id for each in two.rings}) == 400
