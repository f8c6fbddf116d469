"""The tables of the messenger: rooms, their members, and the messages in them.

A `changed_id` is the event id of a row's newest change; see `app/database/sequence.py`.
"""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts.models import USERNAME_CHARS
from app.clock import utcnow
from app.database.types import (
    CLIENT_ID_CHARS,
    NEVER_REUSED,
    Base,
    Id,
    IdColumn,
    UtcDateTime,
    unique_client_id,
)

MESSAGE_CHARS = 10_000
TITLE_CHARS = 100

_IS_CHANGED = text("changed_id IS NOT NULL")


class Room(Base):
    """A room of two people, or a group. Of two, the pair decides which room it is, not the name."""

    __tablename__ = "chat_rooms"
    __table_args__ = (
        UniqueConstraint("low_user_id", "high_user_id"),
        CheckConstraint("low_user_id < high_user_id", name="ordered_pair"),
        CheckConstraint(
            "(kind = 'pair' AND low_user_id IS NOT NULL AND high_user_id IS NOT NULL)"
            " OR (kind = 'group' AND low_user_id IS NULL AND high_user_id IS NULL)",
            name="kind",
        ),
        unique_client_id("chat_rooms", "creator_id"),
        NEVER_REUSED,
    )

    id: Mapped[IdColumn]
    # Two names, what joins them, and a `~2` where another pair has the name already; `g~17`.
    name: Mapped[str] = mapped_column(String(2 * USERNAME_CHARS + 20), unique=True)
    kind: Mapped[str] = mapped_column(String(10), default="pair", server_default="pair")
    low_user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    high_user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    # Moved in the transaction that inserts a message, under a lock on this row: that makes the
    # order of ids in a room the order of commits, and tells which id came before another.
    last_message_id: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    # Of groups
    title: Mapped[str | None] = mapped_column(String(TITLE_CHARS))
    image: Mapped[str | None] = mapped_column(String(255))  # its name in the media store
    history: Mapped[str] = mapped_column(String(10), default="all", server_default="all")
    creator_id: Mapped[int | None] = mapped_column(Id)
    client_id: Mapped[str | None] = mapped_column(String(CLIENT_ID_CHARS))
    # Of title, picture, history, joins, departures and roles; 0 before the first. Null is what the
    # release before memberships inserts, and a trigger then adds the members that it does not.
    changed_id: Mapped[int | None] = mapped_column(Id, index=True)
    # The event id of its creation; 0 in rooms that are older than the sequence.
    created_id: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    # Grows when somebody may no longer write here: who was let in before is checked again.
    access_version: Mapped[int] = mapped_column(Id, default=0, server_default="0")


class RoomMember(Base):
    """Somebody's place in a room. It alone decides who may read and write there, and who lists it.

    The row stays when its user leaves: who comes back finds their read mark.
    """

    __tablename__ = "memberships"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'member')", name="role"),
        Index(None, "user_id", "room_id"),  # serves: the list of one's own rooms
    )

    room_id: Mapped[int] = mapped_column(ForeignKey("chat_rooms.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(10), default="member", server_default="member")
    joined_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    # Event ids: of the joining; from where on history may be read; of the departure.
    joined_id: Mapped[int] = mapped_column(Id, index=True)
    visible_from: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    left_id: Mapped[int | None] = mapped_column(Id)
    muted: Mapped[bool] = mapped_column(default=False, server_default=false())
    changed_id: Mapped[int] = mapped_column(Id, index=True)
    # The newest message that was read, and the event id of that mark, which changes often.
    read_id: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    read_changed_id: Mapped[int] = mapped_column(Id, default=0, server_default="0", index=True)


class Message(Base):
    """One message of a room. A deleted one stays, without its text."""

    __tablename__ = "messages"
    __table_args__ = (
        # Serves a window of one room. On room_id alone PostgreSQL would walk the primary key
        # through everybody's newer messages to find an old room's last ones.
        Index(None, "room_id", "id"),
        unique_client_id("messages", "room_id", "user_id"),
        Index(None, "changed_id", sqlite_where=_IS_CHANGED, postgresql_where=_IS_CHANGED),
        NEVER_REUSED,
    )

    id: Mapped[IdColumn]
    room_id: Mapped[int] = mapped_column(ForeignKey("chat_rooms.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    content: Mapped[str] = mapped_column(Text)
    client_id: Mapped[str | None] = mapped_column(String(CLIENT_ID_CHARS))
    timestamp: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    changed_id: Mapped[int | None] = mapped_column(Id)
    edited_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # A message of the same room. No foreign key: it would lock that row after the sequence.
    reply_to_id: Mapped[int | None] = mapped_column(Id)
    # What the API shows of its files, as JSON, so that no list of messages has to look for them.
    # It never changes while the message has them; `uploads` says who may get them.
    attachments: Mapped[str | None] = mapped_column(Text)


class Installation(Base):
    """One row: which life of this database it is. A restore begins another one."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    epoch: Mapped[str] = mapped_column(String(32))
