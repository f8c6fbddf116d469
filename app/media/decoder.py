"""Works with a picture in a process of its own, with bounds on its memory and its time.

The head of a file does not tell what it takes. A WebP of 300 kB may have 65,536 tables of codes,
and a JPEG each of its colours in a scan of its own: both took 460 MiB. What a process has taken is
free when it ends, and a decoder that crashes ends nothing else.
"""

import gc
import logging
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from app.media.pictures import MEMORY_MAX, TooMuchMemory
from app.threads import fork, wait_for_child

T = TypeVar("T")

log = logging.getLogger(__name__)

CPU_SECONDS = 15  # the largest pictures take 6 s of a slow machine
MEMORY_BYTES = MEMORY_MAX + 8_000_000  # what is made of the picture, beside the decoder's own
SECONDS = 120  # with low priority, beside others


def decoded(function: Callable[[bytes], T], data: bytes) -> T:
    """Return what a function makes of a picture; to be called in a thread.

    The process is a copy of this one, so that it loads nothing: it is there after 3 ms.

    Args:
        function: What it returns can be pickled.
        data: The picture.

    Raises:
        InvalidPicture: The function raised it, or took too much.
        OSError: There is no memory or place for another process.
        Exception: Whatever else the function raises.
    """
    source, sink = os.pipe()
    try:
        pid = fork()
    except OSError:
        os.close(source)
        os.close(sink)
        raise
    if pid == 0:
        _answer(sink, function, data)
    os.close(sink)
    with open(source, "rb") as pipe:  # noqa: PTH123
        answer = pipe.read()
    status: int | None = None
    with suppress(ChildProcessError):
        _, status = wait_for_child(pid, 0)
    if not answer:
        # Mostly a picture that is made to do harm. A defect of ours would also look like this.
        log.warning("a picture was refused: its process ended without an answer, status %s", status)
        raise TooMuchMemory
    result, error = pickle.loads(answer)  # noqa: S301 - of our own process
    if error is not None:
        raise error
    made: T = result
    return made


def _answer(sink: int, function: Callable[[bytes], T], data: bytes) -> NoReturn:
    try:
        gc.disable()  # it would copy all that it looks at
        # A connection that the worker closes must not stay open here.
        os.closerange(3, sink)
        os.closerange(sink + 1, os.sysconf("SC_OPEN_MAX"))
        _bound()
        answer: tuple[T | None, Exception | None]
        try:
            answer = (function(data), None)
        except Exception as error:
            answer = (None, error)
        with open(sink, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
    finally:
        os._exit(0)


def _bound() -> None:
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        kib = next(int(line.split()[1]) for line in status.splitlines() if "VmData" in line)
        most = kib * 1024 + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        # If memory runs out, the kernel ends this process and not the worker.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
