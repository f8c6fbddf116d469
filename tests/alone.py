"""Lets a test run while no other process of the same test run does one."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """Whose turn it is among the processes of one test run.

    Ordinary tests share a file lock; a test that wants to be alone takes it for itself. Everybody
    passes a gate first and whoever waits to be alone holds it, so that the others cannot pass them.
    Whoever has waited for all others keeps the lock for the next test that wants to be alone.

    Args:
        run: The name of the test run; None if it has one process only.

    Attributes:
        gate: The file that whoever waits to be alone has locked.
        lock: The file that whoever has a turn has locked.
    """

    def __init__(self, run: str | None) -> None:
        self.gate = Path(tempfile.gettempdir(), f"beseda-tests-{run}.gate")
        self.lock = self.gate.with_suffix(".lock")
        self._is_kept = False
        self._files = [path.open("w") for path in (self.gate, self.lock)] if run else []

    @contextmanager
    def take(self, *, alone: bool, keep: bool = False) -> Iterator[None]:
        """Wait for one's turn, and keep it for the block.

        Args:
            alone: Whether nobody else may have a turn meanwhile.
            keep: Whether the next turn of this process is to be alone as well.
        """
        if not self._files:
            yield
            return
        gate, lock = self._files
        if not self._is_kept:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self._is_kept = alone and keep
            if not self._is_kept:
                fcntl.flock(lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the files, and remove them."""
        for file in self._files:
            file.close()
            Path(file.name).unlink(missing_ok=True)
