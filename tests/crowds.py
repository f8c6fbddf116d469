"""Many who do something at the same moment."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CROWD = 20

T = TypeVar("T")


def all_at_once(jobs: Sequence[Callable[[], T]], seconds: float = 60) -> list[T]:
    """Do all jobs in threads that start together; return their results in the order given.

    Raises:
        TimeoutError: They took longer than so many seconds.
    """
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T:
        barrier.wait(30)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs, timeout=seconds))
