"""What realtime asks of the database about rooms, without knowing a table."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol


class HistoryUnavailableError(Exception):
    """The database cannot be asked at the moment; ask again later."""


class History(Protocol):
    """Reads what publications did not bring.

    Its methods may wait, so they are called in greenlets of their own.

    Raises:
        HistoryUnavailableError: The database is away.
    """

    def last_ids(self, room_ids: Collection[int]) -> Mapping[int, int]:
        """Return the newest message id of each room; 0 where there is no message yet."""

    def after(
        self, room_id: int, message_id: int, limit: int
    ) -> Sequence[tuple[int, bytes | None]]:
        """Return the oldest messages of a room newer than an id, ascending, with their payloads.

        The payload of a deleted message is None: its id counts, and nobody gets anything.
        """
