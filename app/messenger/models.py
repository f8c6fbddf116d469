"""The tables of talk: rooms of two and the messages in them."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts.models import USERNAME_CHARS
from app.clock import utcnow
from app.database.types import CLIENT_ID_CHARS, NEVER_REUSED, Base, Id, IdColumn, UtcDateTime

MESSAGE_CHARS = 10_000

_HAS_CLIENT_ID = text("client_id IS NOT NULL")


class Room(Base):
    """Two people's conversation. The pair decides which room it is, never the name."""

    __tablename__ = "chat_rooms"
    __table_args__ = (
        UniqueConstraint("low_user_id", "high_user_id"),
        CheckConstraint("low_user_id < high_user_id", name="ordered_pair"),
        NEVER_REUSED,
    )

    id: Mapped[IdColumn]
    # Two names, what joins them, and a `~2` where another pair has the name already.
    name: Mapped[str] = mapped_column(String(2 * USERNAME_CHARS + 20), unique=True)
    low_user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    high_user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    # Moved in the transaction that inserts a message, under a lock on this row: that makes the
    # order of ids in a room the order of commits, and tells which id came before another.
    last_message_id: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)


class Message(Base):
    """One line said in a room. Never edited."""

    __tablename__ = "messages"
    __table_args__ = (
        # Serves a window of one room. On room_id alone PostgreSQL would walk the primary key
        # through everybody's newer messages to find an old room's last ones.
        Index(None, "room_id", "id"),
        Index(
            "uq_messages_room_id_user_id_client_id",
            "room_id",
            "user_id",
            "client_id",
            unique=True,
            sqlite_where=_HAS_CLIENT_ID,
            postgresql_where=_HAS_CLIENT_ID,
        ),
        NEVER_REUSED,
    )

    id: Mapped[IdColumn]
    room_id: Mapped[int] = mapped_column(ForeignKey("chat_rooms.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    content: Mapped[str] = mapped_column(Text)
    client_id: Mapped[str | None] = mapped_column(String(CLIENT_ID_CHARS))
    timestamp: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
