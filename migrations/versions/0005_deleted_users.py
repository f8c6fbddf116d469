"""Users can erase their accounts; what is left is a row without a name.

Revision: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from app.database.types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("deleted_at", UtcDateTime))


def downgrade() -> None:
    op.drop_column("users", "deleted_at")
