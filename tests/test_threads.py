"""Slow functions run beside the event loop: on one polite thread a lane, and no more than wait."""

import functools
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import threads
from app.accounts import passwords
from tests import processes

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 60  # a loop that is held up would never end


class Worker:
    """A process that is patched as gunicorn's worker is: there, a thread is a greenlet.

    Each test runs in a fork of it, which is quicker than to import everything anew.
    """

    def __init__(self) -> None:
        program = (
            f"from gevent import monkey; monkey.patch_all(); from {__name__} import serve; serve()"
        )
        self._process = processes.start(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, test: str) -> str:
        """Return what a test of this file prints, and how it ends if that is not well."""
        print(test, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().encode().decode("unicode_escape").rstrip("\n")

    def stop(self) -> None:
        self._process.communicate()


def serve() -> None:
    for line in sys.stdin:
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if child == 0:
                os.dup2(said.fileno(), sys.stderr.fileno())
                signal.alarm(DEADLINE_SECONDS)
                _run_and_exit(globals()[line.strip()].inside)
            _, status = os.waitpid(child, 0)
            said.seek(0)
            text = said.read().decode() + (f"it ended with {status}" if status else "")
        print(text.encode("unicode_escape").decode(), flush=True)


def _run_and_exit(test: Callable[[], None]) -> None:
    try:
        test()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # at once: to tidy up all that was imported takes longer than the test


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


def in_worker(test: Callable[[], None]) -> Callable[[Worker], None]:
    """Run a test where an event loop is. It fails as well if anything is printed."""

    def run(worker: Worker) -> None:
        assert worker.run(test.__name__) == ""

    functools.update_wrapper(run, test)
    del run.__wrapped__  # pytest would look there for the fixtures to pass
    run.inside = test
    return run


class Gate:
    """Holds up a real thread, which `threading` no longer does in a patched process."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()

    def wait(self) -> str:
        os.read(self._out, 1)
        return "through"

    def let_through(self) -> None:
        os.write(self._in, b".")


class Failure(Exception):
    pass


def fail(*_: object) -> None:
    raise Failure("on purpose")


def thread_id() -> int:
    return threading.get_native_id()


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, thread_id())


@in_worker
def test_result_of_the_function_is_returned() -> None:
    assert threads.run("passwords", divmod, 7, 2) == (3, 1)
    assert threads.run("pictures", sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


@in_worker
def test_who_waits_for_a_socket_is_served_while_somebody_gives_way() -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(ours.recv(1)))
    reader.start()
    threads.give_way()  # now it waits
    theirs.send(b"x")
    for _ in range(3):
        threads.give_way()
    assert heard == [b"x"]
    reader.join()


@in_worker
def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(Failure, match="on purpose"):
        threads.run("passwords", fail)


@in_worker
def test_error_does_not_keep_what_the_function_was_given() -> None:
    class Picture:
        pass

    gc.disable()  # until the next collection, a worker would hold megabytes
    picture = Picture()
    kept = weakref.ref(picture)
    try:
        threads.run("pictures", fail, picture)
    except Failure:
        del picture
    threads.run("pictures", len, "")  # the thread has let go of it as well
    assert kept() is None


@in_worker
def test_others_go_on_while_the_function_runs() -> None:
    gate = Gate()
    # Were the loop held up, the other would never come to open the gate.
    other = threading.Thread(target=gate.let_through)
    other.start()
    assert threads.run("passwords", gate.wait) == "through"
    other.join()


@in_worker
def test_others_go_on_while_passwords_are_hashed_and_checked() -> None:
    turns = 0
    done = threading.Event()

    def take_turns() -> None:
        nonlocal turns
        while not done.wait(0.001):
            turns += 1

    other = threading.Thread(target=take_turns)
    other.start()
    at_first = turns
    stored = passwords.hash_password("yourpassword")
    when_hashed = turns
    verdict = passwords.check_password("yourpassword", stored)
    when_checked = turns
    done.set()
    other.join()

    assert verdict.ok
    assert at_first < when_hashed < when_checked


@in_worker
def test_each_pool_is_one_thread_of_its_own() -> None:
    with ThreadPoolExecutor(10) as crowd:
        jobs = {
            lane: [crowd.submit(threads.run, lane, thread_id) for _ in range(20)]
            for lane in threads.WAITING_MAX
        }
        ids = {lane: {job.result() for job in jobs[lane]} for lane in jobs}

    assert {len(each) for each in ids.values()} == {1}
    assert len(set.union({thread_id()}, *ids.values())) == 1 + len(ids)


@in_worker
def test_pool_goes_on_while_the_other_is_busy() -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as crowd:
        picture = crowd.submit(threads.run, "pictures", gate.wait)
        assert threads.run("passwords", len, "abc") == 3
        assert not picture.done()
        gate.let_through()
        assert picture.result() == "through"


@in_worker
def test_thread_of_a_pool_has_a_low_priority_and_the_loop_has_not() -> None:
    usual = niceness()
    for lane in threads.WAITING_MAX:
        assert threads.run(lane, niceness) == threads.NICENESS > usual
    assert niceness() == usual


@in_worker
def test_pool_refuses_more_than_may_wait_and_recovers() -> None:
    bounded = {lane: most for lane, most in threads.WAITING_MAX.items() if lane != "disk"}
    for lane, most in bounded.items():
        gate = Gate()
        with ThreadPoolExecutor(most + 1) as crowd:
            *jobs, one_too_many = [
                crowd.submit(threads.run, lane, gate.wait) for _ in range(most + 1)
            ]
            with pytest.raises(threads.TooBusy):
                one_too_many.result()
            assert not any(job.done() for job in jobs)
            for _ in jobs:
                gate.let_through()
            assert [job.result() for job in jobs] == ["through"] * most
        assert threads.run(lane, len, "abc") == 3


@in_worker
def test_failures_do_not_use_up_the_pool() -> None:
    for _ in range(threads.WAITING_MAX["pictures"] + 1):
        with pytest.raises(Failure):
            threads.run("pictures", fail)


@in_worker
def test_process_that_was_forked_has_a_pool_of_its_own() -> None:
    mine = threads.run("passwords", thread_id)
    child = os.fork()
    if child == 0:
        os._exit(threads.run("passwords", thread_id) in (mine, os.getpid()))
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert threads.run("passwords", thread_id) == mine


def test_function_runs_in_its_callers_thread_where_no_loop_is() -> None:
    usual = niceness()
    assert threads.run("passwords", thread_id) == thread_id()
    assert niceness() == usual
    with pytest.raises(Failure, match="on purpose"):
        threads.run("passwords", fail)
