"""Posts may carry the name that their client gave them, so that sending one again is safe.

Revision: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("client_id", sa.String(64)))
    op.create_index(
        "uq_posts_author_id_client_id",
        "posts",
        ["author_id", "client_id"],
        unique=True,
        sqlite_where=sa.text("client_id IS NOT NULL"),
        postgresql_where=sa.text("client_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("uq_posts_author_id_client_id", table_name="posts")
    op.drop_column("posts", "client_id")
