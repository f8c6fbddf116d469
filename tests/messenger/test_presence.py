"""Who is online, as several workers know it: told at once, repeated, and forgotten."""

import threading

import pytest
from sqlalchemy import update

from app.accounts.models import User
from app.database.transactions import writing
from app.messenger import presence
from app.messenger.presence import ACTIVE_SECONDS, FORGET_SECONDS, Presence
from app.realtime import Signal
from app.services import services
from app.social.blocks import block


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeFeed:
    live = ()


class FakeRealtime:
    """Workers that hear each other's signals, one after the other."""

    def __init__(self) -> None:
        self.feed = FakeFeed()
        self.others: list[FakeRealtime] = []
        self.take = lambda signal: None
        self.is_alive = True

    def on_signals(self, take) -> None:
        self.take = take

    def send_signal(self, signal: Signal) -> None:
        for other in self.others:
            if self.is_alive and other.is_alive:
                other.take(signal)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(presence, "monotonic", clock)
    return clock


@pytest.fixture
def workers(monkeypatch, clock):
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    realtimes = [FakeRealtime(), FakeRealtime()]
    for one in realtimes:
        one.others = [other for other in realtimes if other is not one]
    workers = [Presence(None, realtime) for realtime in realtimes]
    for worker in workers:
        worker.start()
    return workers


def test_all_workers_know_at_once_who_is_active(workers):
    one, other = workers

    one.set_active(7, 1, is_active=True)
    assert one.is_online(7)
    assert other.is_online(7)

    one.set_active(7, 1, is_active=False)
    assert not one.is_online(7)
    assert not other.is_online(7)


def test_one_active_stream_is_enough(workers):
    one, other = workers
    one.set_active(7, 1, is_active=True)
    other.set_active(7, 2, is_active=True)

    one.set_active(7, 1, is_active=False)

    assert one.is_online(7)
    assert other.is_online(7)


def test_whoever_says_nothing_more_is_offline_in_time(workers, clock):
    one, other = workers
    one.set_active(7, 1, is_active=True)

    clock.now += ACTIVE_SECONDS - 1
    one._expire(clock.now)
    assert other.is_online(7)
    clock.now += 1
    one._expire(clock.now)

    assert not one.is_online(7)
    assert not other.is_online(7)


def test_stream_that_is_closed_keeps_somebody_online_for_a_moment(workers, clock):
    one, other = workers
    one.set_active(7, 1, is_active=True)

    one.forget_stream(7, 1)
    assert other.is_online(7)
    clock.now += 6
    one._expire(clock.now)

    assert not other.is_online(7)


def test_people_of_a_worker_that_was_killed_are_forgotten(workers, clock):
    one, other = workers
    one.set_active(7, 1, is_active=True)
    one._realtime.is_alive = False

    clock.now += FORGET_SECONDS
    other._expire(clock.now)
    assert other.is_online(7)
    clock.now += 1
    other._expire(clock.now)

    assert not other.is_online(7)


def test_worker_that_starts_is_told_who_is_online(workers):
    one, other = workers
    other._realtime.is_alive = False
    one.set_active(7, 1, is_active=True)
    other._realtime.is_alive = True

    other._realtime.send_signal(Signal("who", []))

    assert other.is_online(7)


@pytest.mark.parametrize("hides", [None, "viewer", "seen", "block"])
def test_presence_is_for_people_of_ones_rooms_who_show_theirs(app, team, hides):
    viewer, seen, stranger = team.people(3)
    viewer.room_with(seen)
    presence = services(app).presence
    for person in (seen, stranger):
        presence.set_active(person.id, 1, is_active=True)
    hidden = {"viewer": viewer, "seen": seen}.get(hides)
    with app.app_context():
        if hidden is not None:
            with writing() as connection:
                of_hidden = update(User).where(User.id == hidden.id)
                connection.execute(of_hidden.values(show_presence=False))
        if hides == "block":
            block(seen.id, viewer.name)

        visible = presence.visible_names(viewer.id)

    assert visible == ({} if hides else {seen.id: seen.name})
