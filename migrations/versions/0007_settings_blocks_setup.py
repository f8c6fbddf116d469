"""Settings of a user, blocks between users, and the code of the first administrator.

Revision: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from app.database.types import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_SETTINGS = ("language", "show_presence", "show_read", "push_text")


def upgrade() -> None:
    # Each column has a default in the database, for the release that does not know it.
    op.add_column("users", sa.Column("language", sa.String(2)))
    for name in ("show_presence", "show_read"):
        op.add_column(
            "users", sa.Column(name, sa.Boolean(), server_default=sa.true(), nullable=False)
        )
    op.add_column(
        "users", sa.Column("push_text", sa.String(4), server_default="full", nullable=False)
    )
    op.create_table(
        "blocks",
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("blocked_id", Id, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "blocked_id", name="pk_blocks"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_blocks_owner_id"),
        sa.ForeignKeyConstraint(["blocked_id"], ["users.id"], name="fk_blocks_blocked_id"),
        sa.CheckConstraint("owner_id <> blocked_id", name=op.f("ck_blocks_not_oneself")),
    )
    op.create_index("ix_blocks_blocked_id", "blocks", ["blocked_id"])
    op.create_table(
        "setup_codes",
        sa.Column("id", Id, autoincrement=False, nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_setup_codes"),
    )


def downgrade() -> None:
    op.drop_table("setup_codes")
    op.drop_table("blocks")
    for name in reversed(_SETTINGS):
        op.drop_column("users", name)
