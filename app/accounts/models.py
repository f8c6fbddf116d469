"""The tables of accounts: users, their sessions, invitations, password resets, the setup code."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utcnow
from app.database.types import NEVER_REUSED, Base, Id, IdColumn, UtcDateTime

# Folding can turn one character into three, so a key is wider than its name.
_KEY_FACTOR = 3
USERNAME_CHARS = 150
EMAIL_CHARS = 254
ADDRESS_CHARS = 45  # the longest form of IPv6, with an IPv4 address at its end
CLIENT_CHARS = 200  # of a User-Agent; the rest of a longer one is cut off
_SHA256_HEX_CHARS = 64
_IS_CHANGED = text("changed_id IS NOT NULL")


class User(Base):
    """A user. A `…_key` is the folded form of a column; it is unique, so case does not matter."""

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
    # The user's settings: `settings.py`.
    language: Mapped[str | None] = mapped_column(String(2))
    show_presence: Mapped[bool] = mapped_column(server_default=true())
    show_read: Mapped[bool] = mapped_column(server_default=true())
    push_text: Mapped[str] = mapped_column(String(4), server_default="full")
    # When the account was erased. The row stays without personal data: messages refer to it.
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The event id of the last change that others see: a new picture, an erasure.
    changed_id: Mapped[int | None] = mapped_column(Id)


class Session(Base):
    """One login. It ends when it is revoked or its refresh token expires. Both tokens name it."""

    __tablename__ = "sessions"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[IdColumn]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    address: Mapped[str] = mapped_column(String(ADDRESS_CHARS))
    client: Mapped[str] = mapped_column(String(CLIENT_CHARS))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    last_used_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)  # for a token
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # A revoked row stays for a while: workers read from it which sockets to close.
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
    """The nonce of the setup code: one row until the first administrator exists."""

    __tablename__ = "setup_codes"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    nonce: Mapped[str] = mapped_column(String(64))
