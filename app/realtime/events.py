"""What streams carry: events in the order of their ids, and who is told of them.

Event ids come from one sequence of the whole installation and become visible in ascending
order (`app/database/sequence.py`), so one number says how far anybody has been told.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Publication(NamedTuple):
    """Something was committed: all events after `prev_id` up to `id`.

    A new message brings its payload, so that it can be delivered as it is. Everything else is
    rare, and only announced: a reader that needs it asks the `EventSource`.

    Attributes:
        prev_id: The event before it in the whole sequence.
        id: Its own event id; of several changes the last one.
        room_id: Of a new message; None of any other change.
        room_name: Of a new message: the room's name.
        room_prev_id: Of a new message: the id of the message before it in its room, 0 for the
            first one.
        payload: Of a new message: the message as its readers get it (JSON); None where a bus
            could not carry so much. Of an erasure: the names that are in no table any more.
    """

    prev_id: int
    id: int
    room_id: int | None = None
    room_name: str | None = None
    room_prev_id: int = 0
    payload: bytes | None = None


class Signal(NamedTuple):
    """Something that is not stored: somebody types, or is online. It may be lost.

    Attributes:
        kind: What it is.
        values: More of it, as JSON can carry it.
    """

    kind: str
    values: Sequence[Any]


class MembershipChange(NamedTuple):
    """Somebody has joined or left a room.

    Attributes:
        joined_id: The event id of the joining.
        left_id: The event id of the departure; None for a member.
    """

    room_id: int
    user_id: int
    joined_id: int
    left_id: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a worker delivers it to the streams that it has.

    Attributes:
        id: Its event id.
        room_id: Whose members get `frame`, those who were members at `id`; None if `frame` is for
            nobody, as all who get the event are in `frames`.
        frame: What the members of the room get.
        frames: What single people get in its place, by their ids; b"" is nothing.
        payload: Of a new message: what the sockets of the room get.
        change: To be applied to what the worker knows of the members before the next event.
    """

    id: int
    room_id: int | None = None
    frame: bytes | None = None
    frames: Mapping[int, bytes] | None = None
    payload: bytes | None = None
    change: MembershipChange | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in ascending order, and how far they reach.

    Attributes:
        events: One may be missing that was overtaken by a newer one.
        cursor: There is nothing else up to this event id.
        is_last: Whether `cursor` is the newest event id there was.
    """

    events: Sequence[Event]
    cursor: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class FramePage:
    """The events of one person, as frames; otherwise like `EventPage`."""

    frames: Sequence[tuple[int, bytes]]
    cursor: int
    is_last: bool


class EventSource(Protocol):
    """Reads events from the database. Its methods may wait.

    Raises:
        HistoryUnavailableError: The database is away.
    """

    def newest_event_id(self) -> int:
        """Return the greatest event id that can be seen."""

    def epoch(self) -> str:
        """Return which life of the database it is: a restore begins another one."""

    def events_after(self, user_id: int, after: int, limit: int) -> FramePage:
        """Return what one person is told after an event id, the oldest of it.

        Args:
            user_id: Who.
            after: What they have been told already.
            limit: Frames at most. A page may have fewer, even none, and not be the last one.
        """

    def events_between(
        self,
        after: int,
        limit: int,
        user_ids: Collection[int],
        old_names: Mapping[int, str] | None = None,
    ) -> EventPage:
        """Return all events after an event id, the oldest of them, for those who are here.

        Args:
            after: The cursor of the worker.
            limit: Events at most. A page may have fewer, even none, and not be the last one.
            user_ids: The people whose streams the worker has: for whom single frames are made.
            old_names: What people and rooms were called before their erasure, by event id.
        """

    def message_frame(self, publication: Publication) -> bytes | None:
        """Return the frame of a new message; None if it has to be read from the database."""

    def members(self, room_id: int) -> Mapping[int, tuple[int, int | None]]:
        """Return `joined_id` and `left_id` of everybody who is or was a member of a room.

        Who gets an event of the room is who has joined before its id and not left before it. So it
        does not matter whether the members are read before or after the event.
        """
