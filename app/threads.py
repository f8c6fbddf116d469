"""Runs slow functions off the event loop: hashes, pictures, metrics, files.

Each worker has a pool of one thread with low priority for each kind of work. With more threads, or
in the event loop itself, many simultaneous logins made chat 15 to 350 times slower; with one
thread, not at all. The kinds are separate so that a picture does not delay logins.
"""

import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from time import sleep
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

from gevent.event import Event
from gevent.monkey import get_original, is_module_patched
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

PoolName = Literal["passwords", "pictures", "metrics", "files", "disk"]

# Jobs of one pool, including the running one. Beyond this a caller would wait longer than a person
# does: a password takes 20 ms, a picture up to 1 s and also memory.
WAITING_MAX: dict[PoolName, int] = {
    **{"passwords": 200, "pictures": 20, "metrics": 20, "files": 20},
    # Pieces of files. Each upload and download has one at a time, and cannot be told to wait.
    "disk": 1_000_000,
}

# Networks and accounts whose last turn is known; the others come as if for the first time.
LATELY = 256
SHARES = 4  # one account may use a quarter of the places of a pool

# The lowest priority. Beside 8 clients that log in, the p99 of chat was 1.8 times its quiet value;
# with niceness 10 it was three times. While chat uses the whole CPU, a login takes 0.24 s instead
# of 0.14.
NICENESS = 19

MOMENT_SECONDS = 1e-9
"""A sleep after which a worker has looked at all its sockets and timers.

After `sleep(0)` it has not: gevent runs up to 50 steps of those who sleep so before it looks.
"""

# The system's: after gevent's the loop would go on in the child.
fork: Callable[[], int] = get_original("os", "fork")
wait_for_child: Callable[[int, int], tuple[int, int]] = get_original("os", "waitpid")

_pools: dict[tuple[int, PoolName], "_Pool"] = {}


def give_way() -> None:
    """Let all others run who wait, those as well who wait for a socket; then go on."""
    sleep(MOMENT_SECONDS)


def has_loop() -> bool:
    """Tell whether this process has an event loop, which what is slow must not stop."""
    return bool(is_module_patched("threading"))


class TooBusy(Exception):
    """The queue of the pool is full."""


class Owner(NamedTuple):
    """Whom a job is for. The networks take turns, and in each network its accounts.

    Attributes:
        network: The network of the client.
        account: A user, or the name that somebody wants to log in with.
    """

    network: str = ""
    account: str = ""


NOBODY = Owner()
acting_for: ContextVar[Owner] = ContextVar("acting_for", default=NOBODY)  # the current request


def act_for(account: str) -> None:
    """Let the jobs of this request wait for their turn as those of an account."""
    acting_for.set(acting_for.get()._replace(account=account))


class FairLock:
    """A lock that is fair between owners: the one goes first who had it longest ago, or never.

    An owner who asks a hundred times at once does not make the others wait for a hundred, nor does
    a network from which a hundred accounts ask; and who asks once does not wait for each of them.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._turns = 0
        self._served: OrderedDict[tuple[str, ...], int] = OrderedDict()  # the last turn of each
        self._waiting: OrderedDict[str, OrderedDict[str, deque[_Turn]]] = OrderedDict()

    def waiting(self, who: Owner) -> int:
        """Return how many jobs of an owner are waiting."""
        accounts = self._waiting.get(who.network)
        return len(accounts.get(who.account, ())) if accounts else 0

    def acquire(self, who: Owner) -> None:
        """Wait until the lock is free and take it.

        Raises:
            TooBusy: The place was given to somebody who waits for less.
        """
        if not self._is_taken:
            self._is_taken = True
            self._note(who)
            return
        turn = _Turn()
        self._waiting.setdefault(who.network, OrderedDict()).setdefault(
            who.account, deque()
        ).append(turn)
        try:
            turn.come.wait()
        except BaseException:  # the greenlet is killed
            if not turn.come.is_set():
                self._remove(who, turn)
            elif not turn.is_refused:
                self.release()
            raise
        if turn.is_refused:
            raise TooBusy

    def release(self) -> None:
        """Give the lock to the next owner."""
        if not self._waiting:
            self._is_taken = False
            return
        # Of several who had no turn lately, the first one in the order of asking.
        network = min(self._waiting, key=lambda each: self._served.get((each,), 0))
        accounts = self._waiting[network]
        account = min(accounts, key=lambda each: self._served.get((network, each), 0))
        turn = accounts[account][0]
        turn.come.set()
        self._remove(Owner(network, account), turn)
        self._note(Owner(network, account))

    def _note(self, who: Owner) -> None:
        self._turns += 1
        for key in (who[:1], who[:2]):
            self._served.pop(key, None)
            self._served[key] = self._turns
        while len(self._served) > LATELY:
            self._served.popitem(last=False)

    def make_room(self, who: Owner) -> bool:
        """Refuse a job of the owner with most waiting jobs, to make room for another owner's job.

        Returns:
            Whether there was such a job.
        """
        if not self._waiting:
            return False
        sizes = {
            network: sum(map(len, accounts.values())) for network, accounts in self._waiting.items()
        }
        network = max(sizes, key=sizes.__getitem__)
        accounts = self._waiting[network]
        account = max(accounts, key=lambda each: len(accounts[each]))
        if network == who.network:
            is_more = len(accounts[account]) > self.waiting(who) + 1
        else:
            is_more = sizes[network] > sizes.get(who.network, 0) + 1
        if is_more:
            last = accounts[account][-1]
            last.is_refused = True
            self._remove(Owner(network, account), last)
            last.come.set()
        return is_more

    def _remove(self, who: Owner, turn: "_Turn") -> None:
        accounts = self._waiting[who.network]
        accounts[who.account].remove(turn)
        if not accounts[who.account]:
            del accounts[who.account]
        if not accounts:
            del self._waiting[who.network]


class _Turn:
    def __init__(self) -> None:
        self.come = Event()
        self.is_refused = False


class _Pool:
    def __init__(self) -> None:
        self.thread = ThreadPool(1)
        self.lock = FairLock()
        self.waiting = 0
        self.thread.spawn(_be_nice)


def run(name: PoolName, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread and return its result; other greenlets run meanwhile.

    Args:
        name: The pool.
        function: The function. It must not touch objects that other threads use.

    Raises:
        TooBusy: Too many jobs are waiting, or too many of the same user or network.
        Exception: Whatever the function raises.
    """
    if not has_loop():
        return function(*args, **kwargs)
    # Made at the first use, in the worker: threads do not survive a fork.
    pool = _pools.get((os.getpid(), name))
    if pool is None:
        pool = _pools[os.getpid(), name] = _Pool()
    who = acting_for.get()
    places = WAITING_MAX[name]
    if any(who) and pool.lock.waiting(who) >= places // SHARES:
        raise TooBusy
    if pool.waiting >= places and not pool.lock.make_room(who):
        raise TooBusy
    pool.waiting += 1
    result: T
    error: Exception | None = None
    try:
        pool.lock.acquire(who)
        try:
            result, error = pool.thread.apply(_attempt, (function, args, kwargs))
        finally:
            pool.lock.release()
        if error is not None:
            raise error
        return result
    finally:
        pool.waiting -= 1
        error = None  # breaks a cycle: its traceback refers to this frame


def _attempt(
    function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[T | None, Exception | None]:
    # Returns the exception, because gevent (26.9) prints what a thread raises.
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error


def _be_nice() -> None:
    # Linux lowers the priority of the calling thread only, although POSIX says the whole process.
    # On other systems the id of a thread may be the id of another process.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
