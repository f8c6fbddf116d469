"""What realtime asks of the database, without knowing a table."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol


class History(Protocol):
    """Answers what rings cannot: what was missed.

    Both may wait and may raise; they are called in greenlets of their own.
    """

    def last_ids(self, room_ids: Collection[int]) -> Mapping[int, int]:
        """Return the newest message id of each room; 0 where nothing was said yet."""

    def after(self, room_id: int, message_id: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return the oldest messages of a room newer than an id, ascending, with their payloads."""
