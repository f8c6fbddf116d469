"""The one way in for messages: who waits for whom, who fails alone, and what senders are told.

Nothing stands in for a database here. To make one wait, a test holds the lock that the
writer needs; to make one fail, it is cut off, read-only or not there.
"""

import select
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, event, make_url

from app.database.engine import engine_options, prepare
from app.database.sequence import draw
from app.database.transactions import reading, writing
from app.http.errors import ApiError, DatabaseUnavailable, Overloaded
from app.messenger import writer as module
from app.messenger.drafts import Stored
from app.messenger.writer import MessageWriter, OutcomeUnknown
from app.services import services
from tests.messenger.rows import contents_of, count_messages, held, make_room, messages_of
from tests.servers import free_port

ROOT = Path(__file__).parent.parent.parent
TIMEOUT = 10


def until(condition):
    """Wait until something is true that other threads bring about."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


class Ears:
    """Remembers, in order, the publications and the outcomes that senders were told."""

    def __init__(self):
        self.transactions = []  # the rings of each
        self.said = []  # "ring", or a sender

    def publish(self, publications):
        self.transactions.append(list(publications))
        self.said.append("publish")


class Sender:
    """Remembers what it is told, which should be one thing."""

    def __init__(self, ears=None):
        self.outcomes = []
        self._ears = ears

    def __call__(self, outcome):
        self.outcomes.append(outcome)
        if self._ears:
            self._ears.said.append(self)

    @property
    def outcome(self):
        (outcome,) = self.outcomes
        return outcome


@pytest.fixture
def engine(app):
    return services(app).engine


@pytest.fixture
def ears():
    return Ears()


@pytest.fixture
def writer(engine, ears):
    """A writer that is started and has nothing to do."""
    writer = MessageWriter(engine, ears.publish)
    writer.start()
    return writer


@pytest.fixture
def room(engine):
    return make_room(engine)


@pytest.fixture
def impatient(monkeypatch):
    """Let senders wait a moment only for a database that does not answer."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)


def submit(writer, *drafts, ears=None):
    """Submit drafts; return their senders."""
    senders = [Sender(ears) for _ in drafts]
    for draft, sender in zip(drafts, senders, strict=True):
        writer.submit(draft, sender)
    return senders


def wait_for(*senders):
    until(lambda: all(sender.outcomes for sender in senders))


@contextmanager
def storing(writer, engine, room, *drafts):
    """Let the writer be in the middle of storing drafts; yield their senders.

    When the block ends it may go on.
    """
    with held(engine, room):
        senders = submit(writer, *drafts)
        until(lambda: not writer._waiting)  # it has taken them, and now it waits
        yield senders


# Storing


def test_single_message_is_stored_and_published(writer, ears, engine, room):
    (sender,) = submit(writer, room.draft("hello"))
    wait_for(sender)

    stored = sender.outcome
    assert messages_of(engine, room) == [(stored.id, "hello")]
    ((publication,),) = ears.transactions
    assert publication == (
        *(stored.id - 1, stored.id),
        *(room.id, publication.room_name, 0, stored.payload),
    )


def test_post_returns_what_was_stored(writer, ears, engine, room):
    stored = writer.post(room.draft("hello", "c1"))
    again = writer.post(room.draft("hello?", "c1"))

    assert not stored.is_repeat
    assert again.is_repeat
    assert again.payload == stored.payload
    assert contents_of(engine, room) == ["hello"]


def test_what_arrives_while_one_is_stored_goes_together(writer, ears, engine, room):
    with storing(writer, engine, room, room.draft("first")) as first:
        later = submit(writer, *[room.draft(f"{number}") for number in range(20)])
        assert [sender.outcomes for sender in (*first, *later)] == [[]] * 21
    wait_for(*first, *later)

    assert [len(publications) for publications in ears.transactions] == [1, 20]
    assert contents_of(engine, room) == ["first", *map(str, range(20))]


def test_messages_gather_after_the_writer_has_waited_for_others(
    writer, ears, engine, room, monkeypatch
):
    monkeypatch.setattr(module, "GATHER_SECONDS", 1)
    with writing(engine) as connection:
        draw(connection)
        first = submit(writer, room.draft("first"))
        time.sleep(0.5)
    wait_for(*first)
    later = submit(writer, room.draft("a"))
    time.sleep(0.02)
    later += submit(writer, room.draft("b"))
    wait_for(*later)

    assert [len(publications) for publications in ears.transactions] == [1, 2]


def test_message_is_published_before_its_sender_gets_the_outcome(writer, ears, engine, room):
    with storing(writer, engine, room, room.draft("first")):
        senders = submit(writer, room.draft("a"), room.draft("b"), ears=ears)
    wait_for(*senders)

    assert ears.said == ["publish", "publish", *senders]


def test_publications_chain(writer, ears, engine, room):
    other = make_room(engine)
    drafts = [each.draft(str(n)) for n in range(10) for each in (room, other)]
    wait_for(*submit(writer, *drafts))

    for each in (room, other):
        publications = [
            r for publications in ears.transactions for r in publications if r.room_id == each.id
        ]
        assert [r.room_prev_id for r in publications] == [0, *(r.id for r in publications[:-1])]
        assert [r.id for r in publications] == [id_ for id_, _ in messages_of(engine, each)]


def test_repeat_is_answered_and_not_published(writer, ears, engine, room):
    with storing(writer, engine, room, room.draft("first", "c1")) as (first,):
        senders = submit(writer, room.draft("again", "c1"), room.draft("new"))
    wait_for(first, *senders)

    again, new = (sender.outcome for sender in senders)
    assert again.is_repeat
    assert again.payload == first.outcome.payload
    assert [
        publication.id for publications in ears.transactions for publication in publications
    ] == [
        first.outcome.id,
        new.id,
    ]


def test_what_becomes_of_messages_is_counted(writer, engine, room):
    with storing(writer, engine, room, room.draft("first", "c1")) as senders:
        senders = [
            *senders,
            *submit(writer, room.draft("again", "c1"), room.draft("new"), room.draft("newer")),
        ]
        assert writer.waiting == 4
    wait_for(*senders)
    senders = submit(writer, replace(room.draft("bad"), room_id=10**9))
    wait_for(*senders)
    until(lambda: not writer.waiting)

    assert writer.stats.batches == {1: 1, 3: 1}
    assert writer.stats.stored == 3
    assert writer.stats.repeated == 1
    assert writer.stats.refused == {"error": 1}
    assert writer.stats.store_seconds > 0


@pytest.mark.parametrize(
    ("constant", "most", "lengths"),
    [("BATCH_MESSAGES", 4, [1, 4, 4, 2]), ("BATCH_CHARS", 25, [1, 3, 3, 3, 1])],
)
def test_transactions_are_no_larger_than_they_may_be(
    writer, ears, engine, room, monkeypatch, constant, most, lengths
):
    monkeypatch.setattr(module, constant, most)
    with storing(writer, engine, room, room.draft("first")):
        senders = submit(writer, *[room.draft(f"{number:010}") for number in range(10)])
    wait_for(*senders)

    assert [len(publications) for publications in ears.transactions] == lengths


def test_finish_waits_for_what_was_submitted(writer, engine, room):
    with storing(writer, engine, room, room.draft("1")):
        senders = submit(writer, room.draft("2"))
        finish = threading.Thread(target=writer.finish)
        finish.start()
        finish.join(0.1)
        assert finish.is_alive()
    finish.join(TIMEOUT)

    assert contents_of(engine, room) == ["1", "2"]
    assert all(sender.outcomes for sender in senders)


def test_finish_does_not_wait_for_ever(writer, engine, room, impatient):
    with storing(writer, engine, room, room.draft("1")):
        writer.finish()


def test_nobody_waits_for_publications_of_a_broken_bus(engine, room):
    def publish(publications):
        raise RuntimeError("a defect")

    writer = MessageWriter(engine, publish)
    writer.start()

    assert isinstance(writer.post(room.draft("1")), Stored)
    assert isinstance(writer.post(room.draft("2")), Stored)


def test_sender_that_fails_harms_no_other(writer, engine, room):
    def fails(outcome):
        raise RuntimeError("a defect")

    with storing(writer, engine, room, room.draft("1")):
        writer.submit(room.draft("2"), fails)
        senders = submit(writer, room.draft("3"))
    wait_for(*senders)

    assert contents_of(engine, room) == ["1", "2", "3"]


def test_writer_lets_the_loop_turn_between_transactions(tmp_path):
    """SQLite never waits, so nothing else would let sockets be read and written meanwhile."""
    script = """if True:
        from gevent import monkey
        monkey.patch_all()
        import sys
        from pathlib import Path
        import gevent
        from flask_migrate import upgrade
        from app import create_app
        from app.messenger.writer import MessageWriter
        from app.services import services
        from tests.conftest import make_config, sqlite_url
        from tests.messenger.rows import make_room

        folder = Path(sys.argv[1])
        app = create_app(make_config(folder, sqlite_url(folder)))
        with app.app_context():
            upgrade()
        engine = services(app).engine
        room = make_room(engine)
        turns = 0
        seen_at = []  # the turn of the loop in which each transaction was published

        def turn():
            global turns
            while True:
                gevent.sleep(0)
                turns += 1

        writer = MessageWriter(engine, lambda rings: seen_at.append(turns))
        writer.start()
        gevent.spawn(turn)
        for number in range(256 * 4):
            writer.submit(room.draft("x"), lambda outcome: None)
        while len(seen_at) < 4:
            gevent.sleep(0.001)
        assert len(set(seen_at)) == 4, seen_at
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


# One bad message


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"room_id": 10**9}, id="no such room"),
        pytest.param({"user_id": 10**9}, id="no such user"),
        pytest.param({"content": "\ud800"}, id="half a character"),
        pytest.param({"room_id": 2**70}, id="a number that is too large"),
    ],
)
def test_bad_message_fails_alone(writer, ears, engine, room, bad):
    drafts = [room.draft("good 1"), replace(room.draft("bad"), **bad), room.draft("good 2")]
    with storing(writer, engine, room, room.draft("first")):
        senders = submit(writer, *drafts)
    wait_for(*senders)

    first, refused, last = (sender.outcome for sender in senders)
    assert isinstance(refused, ApiError)
    assert [type(first), type(last)] == [Stored, Stored]
    assert messages_of(engine, room)[1:] == [(first.id, "good 1"), (last.id, "good 2")]
    assert [
        publication.id for publications in ears.transactions[1:] for publication in publications
    ] == [
        first.id,
        last.id,
    ]


# A database that goes away while it stores


@pytest.mark.parametrize("app", ["postgresql"], indirect=True)
def test_nobody_knows_what_became_of_a_message_whose_connection_died(writer, ears, engine, room):
    with storing(writer, engine, room, room.draft("who knows"), room.draft("or this")) as senders:
        hang_up(engine, "wait_event_type = 'Lock'")
        wait_for(*senders)

    assert [type(sender.outcome) for sender in senders] == [OutcomeUnknown] * 2
    assert ears.transactions == []
    stored = writer.post(room.draft("it is back"))
    assert messages_of(engine, room) == [(stored.id, "it is back")]


@pytest.mark.parametrize("app", ["postgresql"], indirect=True)
def test_connection_that_died_while_idle_is_replaced_unnoticed(engine, ears, room):
    own = create_engine(engine.url, **engine_options(str(engine.url), 1))
    prepare(own)
    writer = MessageWriter(own, ears.publish)
    writer.start()
    writer.post(room.draft("before the restart"))
    with reading(own) as connection:
        idle = connection.connection.driver_connection
        poll = select.poll()
        poll.register(idle.fileno(), select.POLLRDHUP)
        pid = idle.pgconn.backend_pid
    hang_up(engine, f"pid = {pid}")
    assert poll.poll(TIMEOUT * 1000)

    try:
        assert isinstance(writer.post(room.draft("after it")), Stored)
    finally:
        own.dispose()


def hang_up(engine, which):
    """Let PostgreSQL end some of the connections to a database, as soon as there are any."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    query = f"""
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND {which}
    """
    with psycopg.connect(url, autocommit=True) as connection:
        until(lambda: connection.execute(query).fetchall())


@pytest.mark.parametrize(
    "failure", [RuntimeError("a defect"), ConnectionError("gone")], ids=["defect", "gone"]
)
def test_failure_after_the_commit_neither_stores_twice_nor_denies_it(
    writer, ears, engine, room, failure
):
    """A repeat is looked up after the commit, and that can fail as anything can."""
    writer.post(room.draft("known", "c1"))

    def fail(_connection, _cursor, statement, *_):
        if "users.username" in statement:  # only the look-up of repeats asks for names
            raise failure

    event.listen(engine, "before_cursor_execute", fail)
    try:
        with storing(writer, engine, room, room.draft("first")):
            senders = submit(writer, room.draft("once"), room.draft("known", "c1"))
        wait_for(*senders)
    finally:
        event.remove(engine, "before_cursor_execute", fail)

    assert contents_of(engine, room) == ["known", "first", "once"]
    assert isinstance(senders[0].outcome, Stored | OutcomeUnknown)


# A database that cannot store


def read_only_engine(engine):
    if engine.dialect.name == "sqlite":
        url = f"sqlite:///file:{engine.url.database}?mode=ro&uri=true"
        read_only = create_engine(url, **engine_options(url, 1))
        prepare(read_only)
    else:
        options = engine_options(str(engine.url), 1)
        options["connect_args"]["options"] = "-c default_transaction_read_only=on"
        read_only = create_engine(engine.url, **options)
        prepare(read_only)
    return read_only


def absent_engine(engine):
    if engine.dialect.name == "sqlite":
        url = make_url("sqlite:////nowhere/beseda.db")
    else:
        url = engine.url.set(host="127.0.0.1", port=free_port())
    absent = create_engine(url, **engine_options(str(url), 1))
    prepare(absent)
    return absent


@pytest.mark.parametrize("make_engine", [read_only_engine, absent_engine])
def test_database_that_cannot_store_is_said_to_be_unavailable(engine, ears, room, make_engine):
    unfit = make_engine(engine)
    writer = MessageWriter(unfit, ears.publish)
    writer.start()

    try:
        with pytest.raises(DatabaseUnavailable):
            writer.post(room.draft("x"))
        senders = submit(writer, *[room.draft(str(number)) for number in range(5)])
        wait_for(*senders)
    finally:
        unfit.dispose()

    assert [type(sender.outcome) for sender in senders] == [DatabaseUnavailable] * 5
    assert count_messages(engine) == 0
    assert ears.transactions == []


# A database that does not answer


def test_senders_do_not_wait_for_ever(writer, ears, engine, room, impatient):
    with storing(writer, engine, room, room.draft("asked")) as asked:
        waiting = submit(writer, room.draft("waits 1"), room.draft("waits 2"))
        wait_for(*asked, *waiting)

        # What the database was asked may yet be stored; what it was not asked is withdrawn.
        assert [type(sender.outcome) for sender in asked] == [OutcomeUnknown]
        assert [type(sender.outcome) for sender in waiting] == [DatabaseUnavailable] * 2
        assert writer.stats.refused == {"outcome_unknown": 1, "database_unavailable": 2}

    stored = writer.post(room.draft("it answers"))

    assert contents_of(engine, room) == ["asked", "it answers"]
    assert [len(publications) for publications in ears.transactions] == [
        1,
        1,
    ]  # heard, although late
    assert ears.transactions[1][0].id == stored.id
    assert [len(sender.outcomes) for sender in (*asked, *waiting)] == [1] * 3


def test_post_does_not_wait_for_ever(writer, engine, room, impatient):
    with held(engine, room), pytest.raises(OutcomeUnknown):
        writer.post(room.draft("x"))

    assert isinstance(writer.post(room.draft("y")), Stored)


def test_too_many_messages_are_refused_at_once(engine, ears, room, monkeypatch):
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    writer = MessageWriter(engine, ears.publish)

    senders = submit(writer, *[room.draft(str(number)) for number in range(4)])
    assert [len(sender.outcomes) for sender in senders] == [0, 0, 0, 1]
    assert isinstance(senders[-1].outcome, Overloaded)
    assert writer.stats.refused == {"overloaded": 1}

    writer.start()
    wait_for(*senders)
    assert contents_of(engine, room) == ["0", "1", "2"]


# Many threads


def test_every_sender_gets_one_outcome_whoever_submits(writer, ears, engine, room):
    senders = []
    ready = threading.Barrier(4)

    def send(number):
        ready.wait()
        for turn in range(50):
            senders.extend(submit(writer, room.draft(f"{number}.{turn}", f"{number}.{turn // 2}")))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    wait_for(*senders)
    writer.finish()

    assert [len(sender.outcomes) for sender in senders] == [1] * 200
    assert sum(sender.outcome.is_repeat for sender in senders) == 100
    assert count_messages(engine) == 100


def test_start_starts_once(engine, ears, room):
    before = threading.active_count()
    writer = MessageWriter(engine, ears.publish)

    threads = [threading.Thread(target=writer.start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)

    assert threading.active_count() == before + 2


def test_writer_goes_on_after_a_defect_of_its_own(writer, ears, room, monkeypatch, caplog):
    def broken(*_):
        raise KeyError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(MessageWriter, "_publish_stored", broken)
        (sender,) = submit(writer, room.draft("lost"))
        wait_for(sender)
    assert sender.outcome.code == "error"
    assert any(each.exc_info and each.exc_info[0] is KeyError for each in caplog.records)

    (sender,) = submit(writer, room.draft("here"))
    wait_for(sender)
    assert isinstance(sender.outcome, Stored)
