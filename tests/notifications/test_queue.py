"""The order in which notifications are sent, and what does not keep others waiting."""

import threading
from dataclasses import replace

import pytest

from app.notifications import queue
from app.notifications.queue import ATTEMPTS, DOUBTFUL_MAX, Job, JobQueue


def job(subscription: int, user: int, first: int, last: int | None = None, room: int = 1) -> Job:
    return Job(subscription, user, room, first, last or first)


def test_messages_of_one_room_become_one_notification() -> None:
    jobs = JobQueue()

    for number in (5, 6, 7):
        jobs.put(job(1, 1, number))
    jobs.put(job(1, 1, 8, room=2))

    assert jobs.take() == job(1, 1, 5, 7)
    assert jobs.waiting == 1


def test_user_is_sent_one_at_a_time_and_others_meanwhile() -> None:
    jobs = JobQueue()
    jobs.put(job(1, 1, 5))
    jobs.put(job(2, 1, 6))
    jobs.put(job(3, 2, 7))

    first = jobs.take()
    assert (first.subscription_id, jobs.take().subscription_id) == (1, 3)
    jobs.done(first, is_good=True)
    assert jobs.take().subscription_id == 2


def test_browser_that_failed_waits_while_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(queue, "monotonic", lambda: now)
    jobs = JobQueue()
    jobs.put(job(1, 1, 5))
    assert jobs.failed(jobs.take(), retry_seconds=60)
    jobs.put(job(2, 2, 6))

    assert jobs.take().subscription_id == 2
    now += 61
    again = jobs.take()
    assert again == replace(job(1, 1, 5), attempts=1)


def test_job_is_tried_so_often_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(queue, "monotonic", lambda: now)
    jobs = JobQueue()
    jobs.put(job(1, 1, 5))

    tries = 0
    while True:
        tries += 1
        if not jobs.failed(jobs.take(), None):
            break
        now += 1000

    assert (tries, jobs.waiting, jobs.settled_to(9)) == (ATTEMPTS, 0, 9)


def test_few_senders_try_browsers_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(queue, "monotonic", lambda: now)
    jobs = JobQueue()
    for user in range(1, 6):
        jobs.put(job(user, user, user))
        jobs.failed(jobs.take(), 1)
    now += 2
    jobs.put(job(9, 9, 9))

    taken = [jobs.take().subscription_id for _ in range(DOUBTFUL_MAX + 1)]

    assert taken == [*range(1, DOUBTFUL_MAX + 1), 9]


def test_what_waits_or_is_being_sent_is_not_settled() -> None:
    jobs = JobQueue()
    assert jobs.settled_to(10) == 10
    jobs.put(job(1, 1, 7, 9))
    assert jobs.settled_to(10) == 6
    taken = jobs.take()
    jobs.put(job(1, 1, 10))
    assert jobs.settled_to(10) == 6
    jobs.done(taken, is_good=True)
    assert jobs.settled_to(10) == 9
    jobs.clear()
    assert jobs.settled_to(10) == 10


def test_taker_is_woken_by_a_job() -> None:
    jobs = JobQueue()
    taken: list[Job] = []
    taker = threading.Thread(target=lambda: taken.append(jobs.take()))
    taker.start()

    jobs.put(job(1, 1, 5))
    taker.join(20)

    assert taken == [job(1, 1, 5)]
