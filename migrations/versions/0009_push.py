"""Web Push: the subscriptions of browsers, and up to which message their owners are notified.

Safe for the release before it, which never looks at these tables; the subscriptions of a session
that it deletes go with the session.

Revision: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from app.database.types import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "push_subscriptions",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("session_id", Id, nullable=False),
        sa.Column("endpoint", sa.String(2048), nullable=False),
        sa.Column("p256dh", sa.String(87), nullable=False),
        sa.Column("auth", sa.String(22), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_push_subscriptions_user_id")
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_push_subscriptions_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_subscriptions")),
        sa.UniqueConstraint("endpoint", name=op.f("uq_push_subscriptions_endpoint")),
        sqlite_autoincrement=True,
    )
    for column in ("user_id", "session_id"):
        op.create_index(
            op.f(f"ix_push_subscriptions_{column}"), "push_subscriptions", [column], unique=False
        )
    op.create_table(
        "push_state",
        sa.Column("id", Id, autoincrement=False, nullable=False),
        sa.Column("told_to", Id, nullable=False),
        sa.Column("holder", sa.String(32), nullable=False),
        sa.Column("held_until", Id, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_state")),
    )


def downgrade() -> None:
    op.drop_table("push_state")
    op.drop_table("push_subscriptions")
