"""The tables of how people relate: friendships."""

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.database.types import Base


class Friendship(Base):
    """An entry of a user's own list of friends. It says nothing about the other side's list."""

    __tablename__ = "friendships"
    __table_args__ = (CheckConstraint("owner_id <> friend_id", name="not_oneself"),)

    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    friend_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
