"""The table of users."""

from datetime import datetime

from sqlalchemy import String, false, true
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utcnow
from app.sql import NEVER_REUSED, Base, IdColumn, UtcDateTime

# Folding can triple a text (one character of it becomes three), so a key is wider than its name.
_KEY_FACTOR = 3
USERNAME_CHARS = 150
EMAIL_CHARS = 254


class User(Base):
    """Who can log in. A `…_key` is the folded form, which is unique whatever the case."""

    __tablename__ = "users"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[IdColumn]
    username: Mapped[str] = mapped_column(String(USERNAME_CHARS))
    username_key: Mapped[str] = mapped_column(String(USERNAME_CHARS * _KEY_FACTOR), unique=True)
    email: Mapped[str] = mapped_column(String(EMAIL_CHARS))
    email_key: Mapped[str] = mapped_column(String(EMAIL_CHARS * _KEY_FACTOR), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(server_default=true())
    is_admin: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
