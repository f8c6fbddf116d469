"""The tables of who you are: users, their sessions, and the two ways in without a password."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utcnow
from app.database.types import NEVER_REUSED, Base, Id, IdColumn, UtcDateTime

# Folding can triple a text (one character of it becomes three), so a key is wider than its name.
_KEY_FACTOR = 3
USERNAME_CHARS = 150
EMAIL_CHARS = 254
ADDRESS_CHARS = 45  # of IPv6 with an IPv4 address at its end
CLIENT_CHARS = 200  # of a User-Agent, which may be longer and says nothing more then
_SHA256_HEX_CHARS = 64
_IS_CHANGED = text("changed_id IS NOT NULL")


class User(Base):
    """Who can log in. A `…_key` is the folded form, which is unique whatever the case."""

    __tablename__ = "users"
    __table_args__ = (
        Index(None, "changed_id", sqlite_where=_IS_CHANGED, postgresql_where=_IS_CHANGED),
        NEVER_REUSED,
    )

    id: Mapped[IdColumn]
    username: Mapped[str] = mapped_column(String(USERNAME_CHARS))
    username_key: Mapped[str] = mapped_column(String(USERNAME_CHARS * _KEY_FACTOR), unique=True)
    email: Mapped[str] = mapped_column(String(EMAIL_CHARS))
    email_key: Mapped[str] = mapped_column(String(EMAIL_CHARS * _KEY_FACTOR), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(server_default=true())
    is_admin: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    # Settings, see `settings.py`.
    language: Mapped[str | None] = mapped_column(String(2))
    show_presence: Mapped[bool] = mapped_column(server_default=true())
    show_read: Mapped[bool] = mapped_column(server_default=true())
    push_text: Mapped[str] = mapped_column(String(4), server_default="full")
    # When its owner erased it. The row stays, nameless, because messages point to it.
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The event id of what others see change: another picture, an erasure.
    changed_id: Mapped[int | None] = mapped_column(Id)


class Session(Base):
    """One login, until it is revoked or its refresh token expires. Its id stands in both tokens."""

    __tablename__ = "sessions"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[IdColumn]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    address: Mapped[str] = mapped_column(String(ADDRESS_CHARS))
    client: Mapped[str] = mapped_column(String(CLIENT_CHARS))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    last_used_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)  # to get a token
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # A revoked row is kept for a while: that is how workers learn whose sockets to close.
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)


class Invitation(Base):
    """A code with which one person may register. Only its hash is kept."""

    __tablename__ = "invitations"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[IdColumn]
    code_hash: Mapped[str] = mapped_column(String(_SHA256_HEX_CHARS), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)


class PasswordReset(Base):
    """A token with which a user may set a new password, once. Only its hash is kept."""

    __tablename__ = "password_resets"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[IdColumn]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    token_hash: Mapped[str] = mapped_column(String(_SHA256_HEX_CHARS), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SetupCode(Base):
    """What the code of the first administrator is made of; one row, until there is one."""

    __tablename__ = "setup_codes"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    nonce: Mapped[str] = mapped_column(String(64))
