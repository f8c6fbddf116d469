"""The members of rooms with traffic, kept in memory in the order of the events."""

from collections.abc import Mapping
from typing import TypeAlias

from app.realtime.events import EventSource, MembershipChange

MEMBERS_MAX = 200_000  # of all these rooms together

Members: TypeAlias = dict[int, tuple[int, int | None]]  # joined_id and left_id, by user


class RoomMembers:
    """Who is and was a member of the rooms in which something happens.

    Args:
        source: Where members are read.
    """

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._of_room: dict[int, Members] = {}  # the idlest room first
        self._count = 0

    def known(self, room_id: int) -> Members | None:
        """Return the members of a room, if they are in memory."""
        members = self._of_room.pop(room_id, None)
        if members is not None:
            self._of_room[room_id] = members  # now the busiest
        return members

    def get(self, room_id: int) -> Members:
        """Return the members of a room, from the database if need be. May wait.

        Raises:
            HistoryUnavailableError: The database is away.
        """
        members = self.known(room_id)
        if members is None:
            members = dict(self._source.members(room_id))
            self._of_room[room_id] = members
            self._count += len(members)
            while self._count > MEMBERS_MAX and len(self._of_room) > 1:
                del self._of_room[next(iter(self._of_room))]
                self._count = sum(map(len, self._of_room.values()))
        return members

    def change(self, change: MembershipChange, rooms: Mapping[int, Members]) -> None:
        """Apply that somebody joined or left.

        Args:
            change: What happened.
            rooms: Members that are in use, and may not be in memory any more.
        """
        for members in (rooms.get(change.room_id), self._of_room.get(change.room_id)):
            if members is not None:
                members[change.user_id] = (change.joined_id, change.left_id)

    def clear(self) -> None:
        """Forget everything."""
        self._of_room.clear()
        self._count = 0
