"""The table of files that people send in messages."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utcnow
from app.database.types import Base, Id, UtcDateTime

NAME_CHARS = 255
ID_CHARS = 32

_EXPIRES = text("expires_at IS NOT NULL")
_IS_ATTACHED = text("message_id IS NOT NULL")


class Upload(Base):
    """A file, or one that is on its way.

    The row is written before the file and deleted after it, so there is no file without a row,
    whatever dies in between. What has `expires_at` behind it is removed by the first who finds it:
    no row gets another life after that moment. So it says everything: it is soon while the file
    comes, a day later when it is there, null when a message has it, and past when it is to go.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        Index(None, "expires_at", sqlite_where=_EXPIRES, postgresql_where=_EXPIRES),
        Index(None, "message_id", sqlite_where=_IS_ATTACHED, postgresql_where=_IS_ATTACHED),
    )

    # Random. It is the name in the store, too; a small picture has `-small` behind it.
    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    message_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id"))
    name: Mapped[str] = mapped_column(String(NAME_CHARS), default="")
    type: Mapped[str | None] = mapped_column(String(100))  # null until the file is whole
    # Until the file is whole, what is kept free for it.
    bytes: Mapped[int] = mapped_column(Id)
    small_bytes: Mapped[int] = mapped_column(Id, default=0, server_default="0")  # 0: there is none
    # Of pictures that are shown
    width: Mapped[int | None]
    height: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
