"""The tables of profiles and posts."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utcnow
from app.database.types import (
    CLIENT_ID_CHARS,
    NEVER_REUSED,
    Base,
    IdColumn,
    UtcDateTime,
    unique_client_id,
)

BIO_CHARS = 2_000
TITLE_CHARS = 200
POST_CHARS = 20_000


class Profile(Base):
    """The profile of a user. A user without a row has the default values."""

    __tablename__ = "profiles"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    bio: Mapped[str] = mapped_column(Text, default="")
    image: Mapped[str | None] = mapped_column(String(255))  # its name in the media store


class Post(Base):
    """A text that everybody may read."""

    __tablename__ = "posts"
    __table_args__ = (
        Index(None, "author_id", "id"),  # serves: the newest posts of one author
        unique_client_id("posts", "author_id"),
        NEVER_REUSED,
    )

    id: Mapped[IdColumn]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str] = mapped_column(String(TITLE_CHARS))
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    client_id: Mapped[str | None] = mapped_column(String(CLIENT_ID_CHARS))
