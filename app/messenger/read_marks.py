"""How far people have read. Marks are as frequent as messages times readers, so one writer for
each worker merges them, and stores at most four times a second whatever is marked.

What is unread is counted when it is asked for, and never stored.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.database.errors import is_unavailable
from app.database.transactions import reading
from app.http.errors import ApiError, DatabaseUnavailable, as_api_error
from app.messenger.mark_store import Move, Place, ReadMark, find_marks, store_moves
from app.messenger.members import RoomNotFound

log = logging.getLogger(__name__)

STORE_SECONDS = 0.25  # between two transactions
SENT_SECONDS = 1.0  # … if nobody waits: a message that was sent marks those before it as read
MARKS_MAX = 1_000  # of one transaction
FINISH_SECONDS = 1.0  # what a worker that leaves may wait for the database
PATIENCE_SECONDS = 4.0  # after which those who wait are told that the database does not answer


class _Waiter:
    # Somebody who has marked rooms and waits until it is stored.

    def __init__(self, places: Iterable[Place]) -> None:
        self.left = set(places)
        self.marks: dict[Place, ReadMark] = {}
        self.error: ApiError | None = None
        self.is_done = threading.Event()

    def answer(self, place: Place, mark: ReadMark | ApiError) -> None:
        self.left.discard(place)
        if isinstance(mark, ApiError):
            self.error = mark
        else:
            self.marks[place] = mark
        if not self.left:
            self.is_done.set()


@dataclass(slots=True)
class _Pending:
    move: Move = field(default_factory=Move)
    waiters: list[_Waiter] = field(default_factory=list)

    def add(self, move: Move) -> None:
        self.move = self.move.then(move)


class ReadMarkWriter:
    """Stores the read marks of one worker.

    All may be called from any thread. It stores in a thread of its own (a greenlet, under a
    gevent worker).

    Args:
        engine: The database.
        announce: Is told the event ids of what was stored, after the commit.
    """

    def __init__(self, engine: Engine, announce: Callable[[range], None]) -> None:
        self._engine = engine
        self._announce = announce
        self._pending: dict[Place, _Pending] = {}
        self._turn = threading.Lock()
        self._wake = threading.Event()
        self._is_started = False
        self._is_awaited = False
        self._is_storing = False

    def start(self) -> None:
        """Begin to store; a second call does nothing. Not from a callback of the event loop."""
        with self._turn:
            if self._is_started:
                return
            self._is_started = True
        threading.Thread(target=self._store_forever, name="read marks", daemon=True).start()

    def note_sent(self, places: Iterable[tuple[int, int, int]]) -> None:
        """Take notice of sent messages, whose authors have read what stands before them.

        Args:
            places: Ids of rooms, of authors, and of messages.
        """
        with self._turn:
            is_first = not self._pending
            for room_id, user_id, message_id in places:
                self._pending.setdefault((room_id, user_id), _Pending()).add(Move(message_id))
        if is_first:
            self._wake.set()

    def mark(self, moves: Mapping[Place, Move]) -> Mapping[Place, ReadMark]:
        """Move marks of members, and return when that is stored.

        Raises:
            RoomNotFound: One of them is no member; what else is marked may be stored.
            DatabaseUnavailable: The database does not answer.
        """
        if not moves:
            return {}
        waiter = _Waiter(moves)
        with self._turn:
            for place, move in moves.items():
                pending = self._pending.setdefault(place, _Pending())
                pending.add(move)
                pending.waiters.append(waiter)
            self._is_awaited = True
        self.start()  # where no worker has done it: in tests, and on the command line
        self._wake.set()
        if not waiter.is_done.wait(PATIENCE_SECONDS):
            raise DatabaseUnavailable
        if waiter.error is not None:
            raise waiter.error
        return waiter.marks

    def finish(self) -> None:
        """Store what is noted, and wait until that is done, for `FINISH_SECONDS` at most."""
        with self._turn:
            if not self._is_started:
                self._pending.clear()
            self._is_awaited = True
        self._wake.set()
        deadline = monotonic() + FINISH_SECONDS
        while (self._pending or self._is_storing) and monotonic() < deadline:
            sleep(0.01)

    def _store_forever(self) -> None:
        stored_at = float("-inf")
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._pending:
                pause = STORE_SECONDS if self._is_awaited else SENT_SECONDS
                if (left := stored_at + pause - monotonic()) > 0:
                    self._wake.wait(left)  # or until somebody comes who waits
                    self._wake.clear()
                    continue
                stored_at = monotonic()
                self._is_storing = True
                try:
                    self._store_some()
                finally:
                    self._is_storing = False

    def _store_some(self) -> None:
        with self._turn:
            taken = dict(list(self._pending.items())[:MARKS_MAX])
            for place in taken:
                del self._pending[place]
            self._is_awaited = any(each.waiters for each in self._pending.values())
        marks: Mapping[Place, ReadMark | ApiError]
        try:
            numbers, marks = self._store(taken)
            self._announce(numbers)
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and is_unavailable(error):
                log.warning("%d read marks not stored: %s", len(taken), type(error).__name__)
                failure: ApiError = DatabaseUnavailable()
            else:
                failure = as_api_error(error)
            marks = dict.fromkeys(taken, failure)
        for place, pending in taken.items():
            for waiter in pending.waiters:
                waiter.answer(place, marks.get(place) or RoomNotFound())

    def _store(self, taken: Mapping[Place, _Pending]) -> tuple[range, Mapping[Place, ReadMark]]:
        moves = {place: pending.move for place, pending in taken.items()}
        numbers = store_moves(self._engine, moves)
        awaited = [place for place, pending in taken.items() if pending.waiters]
        if not awaited:
            return numbers, {}
        with reading(self._engine) as connection:
            return numbers, find_marks(connection, awaited)
