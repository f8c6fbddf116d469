"""How far people have read. Marks are as frequent as messages times readers, so one writer for
each worker merges them, and stores at most four times a second whatever is marked.

What is unread is counted when it is asked for, and never stored.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, Engine, select, text, tuple_
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.models import User
from app.database.errors import is_unavailable
from app.database.prepared import Prepared
from app.database.sequence import draw
from app.database.transactions import reading, writing
from app.database.types import LARGEST_ID
from app.http.errors import ApiError, DatabaseUnavailable, as_api_error
from app.http.json import encode
from app.messenger.chats import UNREAD, in_words_of
from app.messenger.members import RoomNotFound
from app.messenger.models import Room, RoomMember

log = logging.getLogger(__name__)

STORE_SECONDS = 0.25  # between two transactions
SENT_SECONDS = 1.0  # … if nobody waits: a message that was sent marks those before it as read
MARKS_MAX = 1_000  # of one transaction
FINISH_SECONDS = 1.0  # what a worker that leaves may wait for the database
PATIENCE_SECONDS = 4.0  # after which those who wait are told that the database does not answer

Place: TypeAlias = tuple[int, int]  # ids of a room and of a user


class ReadMark(NamedTuple):
    """How far somebody has read in a room, and what is left."""

    read_id: int
    unread: int


class Move(NamedTuple):
    """How a mark is to be moved: up to a message, or down to before one."""

    message_id: int
    is_down: bool = False

    def applied(self, read_id: int, newest_id: int) -> int:
        """Return where it leaves a mark.

        Args:
            read_id: Where the mark is.
            newest_id: The newest message of the room.
        """
        if self.is_down:
            return min(read_id, max(self.message_id - 1, 0))
        return max(read_id, min(self.message_id, newest_id))


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
    moves: list[Move] = field(default_factory=list)
    waiters: list[_Waiter] = field(default_factory=list)

    def add(self, move: Move) -> None:
        if self.moves and not move.is_down and not self.moves[-1].is_down:
            move = max(move, self.moves.pop())
        self.moves.append(move)


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
        with writing(self._engine) as connection:
            changed = []
            places = connection.execute(_locked(taken)).all()
            of_erased = User.id.in_({row.user_id for row in places}), User.deleted_at.is_not(None)
            erased = set(connection.scalars(select(User.id).where(*of_erased)))
            for room_id, user_id, read_id, newest_id in places:
                moved = read_id
                for move in taken[room_id, user_id].moves:
                    moved = move.applied(moved, newest_id)
                if moved != read_id and user_id not in erased:
                    changed.append((room_id, user_id, moved))
            numbers = draw(connection, len(changed))
            _write(connection, [(*mark, n) for mark, n in zip(changed, numbers, strict=True)])
        awaited = [place for place, pending in taken.items() if pending.waiters]
        if not awaited:
            return numbers, {}
        with reading(self._engine) as connection:
            return numbers, find_marks(connection, awaited)


def _locked(places: Iterable[Place]) -> Any:
    return (
        select(RoomMember.room_id, RoomMember.user_id, RoomMember.read_id, Room.last_message_id)
        .join(Room, Room.id == RoomMember.room_id)
        .where(
            tuple_(RoomMember.room_id, RoomMember.user_id).in_(list(places)),
            RoomMember.left_id.is_(None),
        )
        .order_by(RoomMember.room_id, RoomMember.user_id)
        .with_for_update(of=RoomMember, key_share=True)
    )


# In one statement, because everybody who writes waits meanwhile.
_WRITE = {
    "sqlite": Prepared(
        text("""
        UPDATE memberships
        SET read_id = json_extract(new.value, '$[2]'),
            read_changed_id = json_extract(new.value, '$[3]')
        FROM json_each(:marks) AS new
        WHERE room_id = json_extract(new.value, '$[0]')
            AND user_id = json_extract(new.value, '$[1]')
    """)
    ),
    "postgresql": Prepared(
        text("""
        UPDATE memberships
        SET read_id = CAST(new.value->>2 AS bigint), read_changed_id = CAST(new.value->>3 AS bigint)
        FROM json_array_elements(CAST(:marks AS json)) AS new
        WHERE room_id = CAST(new.value->>0 AS bigint) AND user_id = CAST(new.value->>1 AS bigint)
    """)
    ),
}


def _write(connection: Connection, marks: Sequence[tuple[int, int, int, int]]) -> None:
    if marks:
        values = {"marks": encode(marks).decode()}
        _WRITE[connection.dialect.name].all(connection, values)


_MARKS = f"""
    SELECT member.room_id, member.user_id, member.read_id, {UNREAD} AS unread
    FROM (:wanted) AS wanted
    JOIN memberships AS member
        ON member.room_id = wanted.room_id AND member.user_id = wanted.user_id
    WHERE member.left_id IS NULL
"""
_WANTED = {
    "sqlite": """
        SELECT CAST(json_extract(value, '$[0]') AS INTEGER) AS room_id,
            CAST(json_extract(value, '$[1]') AS INTEGER) AS user_id
        FROM json_each(:places)""",
    "postgresql": """
        SELECT CAST(value->>0 AS bigint) AS room_id, CAST(value->>1 AS bigint) AS user_id
        FROM json_array_elements(CAST(:places AS json))""",
}
_FIND = {
    dialect: Prepared(text(in_words_of(dialect, _MARKS, wanted=wanted, at=str(LARGEST_ID))))
    for dialect, wanted in _WANTED.items()
}


def find_marks(connection: Connection, places: Sequence[Place]) -> Mapping[Place, ReadMark]:
    """Return how far members have read, and what is left; nothing of those who are none."""
    rows = _FIND[connection.dialect.name].all(connection, {"places": encode(places).decode()})
    return {(room_id, user_id): ReadMark(*mark) for room_id, user_id, *mark in rows}
