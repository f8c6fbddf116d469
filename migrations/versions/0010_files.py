"""Files in messages: who sent them, and what a message shows of them.

Safe for the release before it, which never looks at them. A message that it deletes meanwhile
keeps its files, which nobody can see any more.

Revision: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

from app.database.types import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_EXPIRES = sa.text("expires_at IS NOT NULL")
_IS_ATTACHED = sa.text("message_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("messages", sa.Column("attachments", sa.Text()))
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("message_id", Id),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("type", sa.String(100)),
        sa.Column("bytes", Id, nullable=False),
        sa.Column("small_bytes", Id, server_default="0", nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_uploads_user_id"),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_uploads_message_id"),
    )
    op.create_index("ix_uploads_user_id", "uploads", ["user_id"])
    op.create_index(
        "ix_uploads_expires_at",
        "uploads",
        ["expires_at"],
        sqlite_where=_EXPIRES,
        postgresql_where=_EXPIRES,
    )
    op.create_index(
        "ix_uploads_message_id",
        "uploads",
        ["message_id"],
        sqlite_where=_IS_ATTACHED,
        postgresql_where=_IS_ATTACHED,
    )


def downgrade() -> None:
    op.drop_table("uploads")
    op.drop_column("messages", "attachments")
