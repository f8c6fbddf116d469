"""What holds for one bus holds for all: publications reach the others, and delay nobody."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from app.database.engine import connector
from app.realtime import Bus, MemoryBus, PostgresPubSub, Publication, PubSubBus, RedisPubSub, Signal
from app.realtime.packing import pack, unpack
from config_urls import database_url
from tests.conftest import unavailable
from tests.delivery.machines import PostgresServer, RedisServer
from tests.delivery.proxy import Proxy

DEADLINE_SECONDS = 10
RESUME_SECONDS = 20  # TCP itself waits longer and longer before it tries again
NOTIFICATION_BYTES = 8_000
CROWD = 20_000  # rings; four times as many as may wait
AT_ONCE_SECONDS = 1.5  # for all of them: less than one time-out of a line


def until(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Ear:
    """A worker on a bus: the publications it received, and how often it was told to reconcile."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.publications: list[Publication | Signal] = []
        self.recoveries = 0
        bus.start(self.publications.extend, self._recovered)

    def _recovered(self) -> None:
        self.recoveries += 1


@pytest.fixture(params=["memory", "redis", "postgresql"])
def new_bus(request: pytest.FixtureRequest) -> Iterator[Callable[[], Bus]]:
    """Make buses of one installation."""
    buses: list[Bus] = []
    url = "" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    channel = f"test:{secrets.token_hex(8)}"

    def make() -> Bus:
        match request.param:
            case "memory":
                buses.append(MemoryBus())
            case "redis":
                buses.append(PubSubBus(RedisPubSub(url, channel)))
            case "postgresql":
                buses.append(PubSubBus(PostgresPubSub(connector(database_url(url)))))
        return buses[-1]

    yield make
    for bus in buses:
        bus.stop()


# What is told to others has no meaning in memory, where there are none.
among_others = pytest.mark.parametrize("new_bus", ["redis", "postgresql"], indirect=True)


def publication(message_id: int, payload: bytes = b'{"id":1}') -> Publication:
    return Publication(message_id - 1, message_id, 1, "room", message_id - 1, payload)


def publish_crowd(bus: Bus) -> float:
    """Publish many messages, each by itself; return how many seconds it took."""
    began = time.monotonic()
    for message_id in range(1, CROWD + 1):
        bus.publish([publication(message_id)])
    return time.monotonic() - began


# Any bus, alone


def test_bus_recovers_and_reports_nothing_twice(new_bus: Callable[[], Bus]) -> None:
    ear = Ear(new_bus())

    until(ear.bus.is_healthy)

    time.sleep(0.1)
    assert ear.recoveries <= 1


def test_whoever_publishes_is_not_told(new_bus: Callable[[], Bus]) -> None:
    ear = Ear(new_bus())
    until(ear.bus.is_healthy)

    ear.bus.publish([publication(1)])
    ear.bus.publish([])
    ear.bus.publish([publication(2), publication(3)])

    time.sleep(0.2)
    assert ear.publications == []
    assert ear.bus.is_healthy()


def test_publishing_neither_waits_nor_raises_whenever_it_is(new_bus: Callable[[], Bus]) -> None:
    bus = new_bus()
    before = publish_crowd(bus)
    ear = Ear(bus)
    amid = publish_crowd(bus)
    bus.stop()
    after = publish_crowd(bus)

    assert max(before, amid, after) < AT_ONCE_SECONDS
    assert ear.publications == []


def test_stopped_bus_leaves_nothing_running(new_bus: Callable[[], Bus]) -> None:
    def threads() -> int:
        return sum(thread.name == "bus" for thread in threading.enumerate())

    until(lambda: threads() == 0)  # those of the tests before
    ear = Ear(new_bus())
    until(ear.bus.is_healthy)

    ear.bus.stop()
    ear.bus.stop()

    until(lambda: threads() == 0)


# Buses among others


@among_others
def test_publications_reach_the_other_workers_in_order_and_not_the_sender(
    new_bus: Callable[[], Bus],
) -> None:
    one, two, three = (Ear(new_bus()) for _ in range(3))
    until(lambda: all(ear.bus.is_healthy() for ear in (one, two, three)))

    for message_id in range(1, 101):
        one.bus.publish([publication(message_id)])

    until(lambda: len(two.publications) == len(three.publications) == 100)
    assert two.publications == three.publications == [publication(each) for each in range(1, 101)]
    assert one.publications == []


@among_others
def test_single_worker_publishes_nothing_until_another_one_comes(
    new_bus: Callable[[], Bus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.realtime.bus.ALONE_SECONDS", 1.5)  # more than a beat
    one = Ear(new_bus())
    backend = one.bus._backend  # type: ignore[attr-defined]
    line = backend.connect_subscriber()
    until(lambda: one.bus.is_healthy() and one.bus._is_alone())  # type: ignore[attr-defined]

    one.bus.publish([publication(1)])
    on_text = [message for _ in range(3) for message in line.receive()]
    line.close()
    assert on_text  # beats
    assert all(unpack(message)[1] == [] for message in on_text)

    two = Ear(new_bus())
    until(lambda: two.bus.is_healthy() and not one.bus._is_alone())  # type: ignore[attr-defined]
    one.bus.publish([publication(2)])
    until(lambda: two.publications == [publication(2)])


@among_others
def test_recovery_is_reported_once(new_bus: Callable[[], Bus]) -> None:
    ear = Ear(new_bus())
    assert not ear.bus.is_healthy()

    until(ear.bus.is_healthy)

    until(lambda: ear.recoveries == 1)


@among_others
def test_signals_arrive_among_publications_and_large_ones_are_dropped(
    new_bus: Callable[[], Bus],
) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.bus.is_healthy() and two.bus.is_healthy())
    signal = Signal("presence", ["origin", True, [1, 2, 3]])
    change = Publication(8, 9)

    one.bus.publish([signal, Signal("large", ["x" * 2_000_000]), publication(1), change])

    until(lambda: len(two.publications) == 3)
    assert two.publications == [signal, publication(1), change]


@among_others
def test_any_text_arrives_unchanged(new_bus: Callable[[], Bus]) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.bus.is_healthy() and two.bus.is_healthy())
    payloads = ['{"content":"Привет! 👋"}'.encode(), b'{"content":"\\"\'\\\\ \xe2\x80\xa8 %s $1"}']

    one.bus.publish([publication(1, payloads[0]), publication(2, payloads[1])])

    until(lambda: len(two.publications) == 2)
    assert [each.payload for each in two.publications] == payloads


@among_others
def test_message_too_large_for_the_bus_is_still_published(new_bus: Callable[[], Bus]) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.bus.is_healthy() and two.bus.is_healthy())
    payload = b'{"content":"' + b"x" * 60_000 + b'"}'

    one.bus.publish([publication(1, payload)])

    until(lambda: len(two.publications) == 1)
    assert two.publications[0]._replace(payload=None) == publication(1, b"")._replace(payload=None)
    assert two.publications[0].payload in (payload, None)  # None: look into the database


def test_publishing_to_a_missing_bus_delays_nobody() -> None:
    bus = PubSubBus(RedisPubSub("redis://127.0.0.1:1/0", "nobody"))
    ear = Ear(bus)

    for message_id in range(1, 20_001):
        bus.publish([publication(message_id)])

    assert not bus.is_healthy()
    assert ear.publications == []
    bus.stop()


def test_bus_that_cannot_connect_says_so_once_and_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.realtime.bus.PAUSE_SECONDS", 0.01)
    bus = PubSubBus(RedisPubSub("redis://127.0.0.1:1/0", "nobody"))
    Ear(bus)
    time.sleep(0.3)
    bus.stop()

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "Connection refused" in record.getMessage()


@among_others
def test_defect_while_publications_are_delivered_is_logged_and_harms_no_connection(
    new_bus: Callable[[], Bus], caplog: pytest.LogCaptureFixture
) -> None:
    one, two, taken = Ear(new_bus()), new_bus(), []

    def deliver(publications: Sequence[Publication]) -> None:
        taken.extend(publications)
        if len(taken) == 1:
            raise KeyError("a defect")

    two.start(deliver, lambda: None)
    until(lambda: one.bus.is_healthy() and two.is_healthy())
    one.bus.publish([publication(1)])
    until(lambda: len(taken) == 1)
    one.bus.publish([publication(2)])
    until(lambda: len(taken) == 2, 1)

    assert [each.exc_info[0] for each in caplog.records if each.exc_info] == [KeyError]


@among_others
def test_bus_that_lost_its_connections_recovers_and_says_so(
    new_bus: Callable[[], Bus], request: pytest.FixtureRequest
) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.recoveries == two.recoveries == 1)

    _cut_connections(request)

    until(lambda: one.recoveries >= 2 and two.recoveries >= 2)
    until(lambda: one.bus.is_healthy() and two.bus.is_healthy())
    one.bus.publish([publication(7)])
    until(lambda: publication(7) in two.publications)


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


@pytest.fixture(params=["redis", "postgresql"])
def behind_proxy(request: pytest.FixtureRequest) -> Iterator[tuple[Proxy, Callable[[], Bus]]]:
    """Make buses over an exchange that can be reached through a proxy only."""
    kind = RedisServer if request.param == "redis" else PostgresServer
    if not (kind.program() if kind is RedisServer else kind.programs()):
        unavailable(request.param)
    buses: list[Bus] = []
    with kind() as server, Proxy("127.0.0.1", server.port) as proxy:

        def make() -> Bus:
            if request.param == "redis":
                url = f"redis://127.0.0.1:{proxy.port}/0"
                buses.append(PubSubBus(RedisPubSub(url, "hanging")))
            else:
                url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
                buses.append(PubSubBus(PostgresPubSub(connector(database_url(url)))))
            return buses[-1]

        yield proxy, make
        for bus in buses:
            bus.stop()


def test_bus_that_hangs_delays_nobody_and_recovers(
    behind_proxy: tuple[Proxy, Callable[[], Bus]],
) -> None:
    proxy, make = behind_proxy
    one, two = Ear(make()), Ear(make())
    until(lambda: one.recoveries == two.recoveries == 1)
    proxy.silence()

    seconds = publish_crowd(one.bus)
    until(lambda: not one.bus.is_healthy() and not two.bus.is_healthy())
    seconds = max(seconds, publish_crowd(one.bus))
    assert one.recoveries == two.recoveries == 1
    proxy.resume()

    assert seconds < AT_ONCE_SECONDS
    until(lambda: one.recoveries >= 2 and two.recoveries >= 2, RESUME_SECONDS)
    until(lambda: one.bus.is_healthy() and two.bus.is_healthy(), RESUME_SECONDS)
    one.bus.publish([publication(CROWD + 1)])
    until(lambda: publication(CROWD + 1) in two.publications)


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_messages_are_never_larger_than_the_bus_carries(count: int) -> None:
    publications = [
        publication(each, b'{"c":"' + b"y" * (each * 37 % 9000) + b'"}')
        for each in range(1, count + 1)
    ]

    messages = list(pack("0" * 16, publications, NOTIFICATION_BYTES - 100))

    assert all(len(message) < NOTIFICATION_BYTES for message in messages)
    unpacked = [each for message in messages for each in unpack(message)[1]]
    assert [each.id for each in unpacked] == [each.id for each in publications]
    assert all(
        got.payload in (sent.payload, None)
        for got, sent in zip(unpacked, publications, strict=True)
    )
    assert {unpack(message)[0] for message in messages} == {"0" * 16}


@among_others
def test_threads_may_publish_at_once(new_bus: Callable[[], Bus]) -> None:
    one, two = Ear(new_bus()), Ear(new_bus())
    until(lambda: one.bus.is_healthy() and two.bus.is_healthy())
    barrier = threading.Barrier(4)

    def publish(start: int) -> None:
        barrier.wait()
        for message_id in range(start, start + 100):
            one.bus.publish([publication(message_id)])

    threads = [threading.Thread(target=publish, args=(start,)) for start in (1, 201, 401, 601)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    until(lambda: len(two.publications) == 400)
    assert len({each.id for each in two.publications}) == 400
