"""What waits to be sent to push services, so that one that hangs does not keep the others waiting.

One user is sent one notification at a time. A browser whose push service has just failed is left
alone for a while, and few of the senders try such ones at all.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from time import monotonic

from app.notifications.push_service import Browser

WAITING_MAX = 1_000
DOUBTFUL_MAX = 2  # sent to at a time, of browsers whose push service failed the last time
ATTEMPTS = 3
PAUSES_SECONDS = (5.0, 20.0, 80.0, 300.0)  # after one failure, two, and so on
FAILING_MAX = 10_000  # browsers whose failures are remembered


@dataclass(frozen=True, slots=True)
class Job:
    """A notification to be sent.

    Attributes:
        subscription_id: To which browser.
        user_id: Whose.
        room_id: Of which room; 0: it is a test.
        first_id: The oldest message that it is about.
        last_id: The newest one.
        attempts: How often it was tried.
        test: Where a test goes, and what it says.
    """

    subscription_id: int
    user_id: int
    room_id: int = 0
    first_id: int = 0
    last_id: int = 0
    attempts: int = 0
    test: tuple[Browser, bytes] | None = None

    @property
    def key(self) -> tuple[int, int]:
        """By what a later one of the same room takes the place of an earlier one."""
        return self.subscription_id, self.room_id


class JobQueue:
    """Jobs of one worker. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: OrderedDict[tuple[int, int], Job] = OrderedDict()
        self._taken: dict[int, Job] = {}  # by user
        self._failures: dict[int, int] = {}  # in a row, by subscription
        self._paused_until: dict[int, float] = {}  # by subscription

    @property
    def has_room(self) -> bool:
        """Whether more jobs may be put."""
        return len(self._waiting) < WAITING_MAX

    def put(self, job: Job) -> None:
        """Let a job wait; an earlier one of the same browser and room becomes part of it."""
        with self._changed:
            self._put(job)
            self._changed.notify()

    def _put(self, job: Job) -> None:
        earlier = self._waiting.get(job.key)
        if earlier:
            job = replace(
                job,
                first_id=min(job.first_id, earlier.first_id),
                last_id=max(job.last_id, earlier.last_id),
            )
        self._waiting[job.key] = job

    def take(self) -> Job:
        """Wait for a job that may be sent now. Its taker calls `done` or `failed` in any case."""
        with self._changed:
            while (job := self._find()) is None:
                self._changed.wait(None if not self._waiting else 1.0)
            del self._waiting[job.key]
            self._taken[job.user_id] = job
            return job

    def _find(self) -> Job | None:
        now = monotonic()
        doubtful = sum(each.subscription_id in self._failures for each in self._taken.values())
        for job in self._waiting.values():
            is_doubtful = job.subscription_id in self._failures
            if (
                job.user_id not in self._taken
                and self._paused_until.get(job.subscription_id, 0.0) <= now
                and not (is_doubtful and doubtful >= DOUBTFUL_MAX)
            ):
                return job
        return None

    def done(self, job: Job, *, is_good: bool) -> None:
        """Note that a job needs nothing more.

        Args:
            job: The job.
            is_good: Whether its push service has answered.
        """
        with self._changed:
            del self._taken[job.user_id]
            if is_good:
                self._failures.pop(job.subscription_id, None)
                self._paused_until.pop(job.subscription_id, None)
            self._changed.notify()

    def failed(self, job: Job, retry_seconds: float | None) -> bool:
        """Note that a push service is busy or away, and let the job wait once more.

        Args:
            job: The job.
            retry_seconds: How long its push service wants to be left alone; None: it does not say.

        Returns:
            Whether the job is tried again.
        """
        with self._changed:
            del self._taken[job.user_id]
            if len(self._failures) >= FAILING_MAX:
                self._failures.clear()
                self._paused_until.clear()
            failures = self._failures.get(job.subscription_id, 0) + 1
            self._failures[job.subscription_id] = failures
            usual = PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS)) - 1]
            pause = usual if retry_seconds is None else retry_seconds
            self._paused_until[job.subscription_id] = monotonic() + pause
            again = replace(job, attempts=job.attempts + 1)
            is_again = again.attempts < ATTEMPTS
            if is_again:
                self._put(again)
            self._changed.notify()
            return is_again

    def settled_to(self, read_to: int) -> int:
        """Return up to which message nothing is left to do.

        Args:
            read_to: Up to which message jobs were put.
        """
        with self._changed:
            jobs = (*self._waiting.values(), *self._taken.values())
            return min((each.first_id - 1 for each in jobs if each.room_id), default=read_to)

    def clear(self) -> None:
        """Forget what waits; another worker sends it."""
        with self._changed:
            self._waiting.clear()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)
