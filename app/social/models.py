"""The tables of friends and blocks."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utcnow
from app.database.types import Base, UtcDateTime


class Friendship(Base):
    """An entry of one user's list of friends. The other user's list is independent of it."""

    __tablename__ = "friendships"
    __table_args__ = (CheckConstraint("owner_id <> friend_id", name="not_oneself"),)

    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    friend_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)


class Block(Base):
    """`owner_id` has blocked `blocked_id`."""

    __tablename__ = "blocks"
    __table_args__ = (CheckConstraint("owner_id <> blocked_id", name="not_oneself"),)

    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    blocked_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
