"""The tables of Web Push: where devices are notified, and up to which message that is done."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utcnow
from app.database.types import NEVER_REUSED, Base, Id, IdColumn, UtcDateTime

ENDPOINT_CHARS = 2048
# In base64url without padding: a point of P-256 (65 bytes), and a secret of 16 bytes.
P256DH_CHARS = 87
AUTH_CHARS = 22


class PushSubscription(Base):
    """A browser that wants to be notified. It belongs to a session and ends with it."""

    __tablename__ = "push_subscriptions"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[IdColumn]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    # CASCADE, because the release before this table deletes rows of old sessions.
    session_id: Mapped[int] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    endpoint: Mapped[str] = mapped_column(String(ENDPOINT_CHARS), unique=True)
    p256dh: Mapped[str] = mapped_column(String(P256DH_CHARS))
    auth: Mapped[str] = mapped_column(String(AUTH_CHARS))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)


class PushState(Base):
    """One row: which worker notifies, and up to which message that is done."""

    __tablename__ = "push_state"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    told_to: Mapped[int] = mapped_column(Id)
    holder: Mapped[str] = mapped_column(String(32))
    held_until: Mapped[int] = mapped_column(Id)  # seconds since 1970, by the database's clock
