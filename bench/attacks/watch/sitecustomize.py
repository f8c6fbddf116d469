"""Notes which greenlets of a gunicorn worker take the event loop for long.

Python imports a file of this name at its start, wherever `PYTHONPATH` has it. Time is that of the
processor, so that a busy machine does not count.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

LONG_SECONDS = 0.01
_PATH = os.environ.get("LONG_HOLDS")


def _watch() -> None:
    import greenlet  # type: ignore[import-untyped]

    last = time.thread_time()

    def switched(_event: str, pair: Any) -> None:
        nonlocal last
        now = time.thread_time()
        if now - last > LONG_SECONDS and _PATH:
            note = {"ms": round(1000 * (now - last), 1), "where": _where(pair[0])}
            with Path(_PATH).open("a") as file:
                file.write(json.dumps(note) + "\n")
        last = time.thread_time()

    greenlet.settrace(switched)


def _where(origin: Any) -> str:
    # Where it stopped; what took the time lies before.
    frame, names = origin.gr_frame, []
    while frame is not None:
        code = frame.f_code
        names.append(f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(names[:12])


if _PATH:
    os.register_at_fork(after_in_child=_watch)
