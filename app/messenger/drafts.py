"""What a message is before it is stored, and what it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from app.messenger.members import Membership

Key: TypeAlias = tuple[int, int, str | None]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that wants to be stored; its room and its user are known to exist.

    Attributes:
        reply_to_id: A message of the same room; it was checked.
        access_version: Of the room, when the user was last known to be a member.
        attachments: Ids of files that it is to have. They are looked at when it is stored.
        kept_files: What it will keep of them, once that is known.
    """

    room_id: int
    user_id: int
    username: str
    content: str
    client_id: str | None = None
    reply_to_id: int | None = None
    room_name: str = ""
    access_version: int = 0
    attachments: Sequence[str] = ()
    kept_files: str | None = None

    @classmethod
    def of(
        cls,
        member: Membership,
        content: str,
        client_id: str | None = None,
        reply_to_id: int | None = None,
        attachments: Sequence[str] = (),
    ) -> Self:
        """Return what a member wants to send."""
        return cls(
            member.room_id,
            member.user_id,
            member.username,
            content,
            client_id,
            reply_to_id,
            member.room_name,
            member.access_version,
            attachments,
        )

    @property
    def key(self) -> Key:
        """What the database keeps unique, where a `client_id` was given."""
        return self.room_id, self.user_id, self.client_id


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in the table.

    Attributes:
        room_id: Where.
        id: Its id.
        payload: It, as its readers get it (JSON).
        prev_id: The id before it in its room; None if it had been stored earlier, under
            the same `client_id`.
        access_version: Of the room: with it the author was allowed to write.
    """

    room_id: int
    id: int
    payload: bytes
    prev_id: int | None
    access_version: int = 0

    @property
    def is_repeat(self) -> bool:
        """Whether nothing was inserted: this user had sent this `client_id` to this room."""
        return self.prev_id is None


class OutcomeUnknownError(Exception):
    """The connection died while committing: nobody knows whether the messages are stored."""


# What became of each draft: its id and the id before it in its room, or None if it was not
# inserted.
Added: TypeAlias = Sequence[tuple[int, int] | None]
