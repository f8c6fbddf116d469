"""First tables: users, profiles, posts, friendships, chat rooms, messages.

Revision: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

from app.database.types import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("username", sa.String(150), nullable=False),
        sa.Column("username_key", sa.String(450), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sa.String(762), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("is_active", sa.Boolean, server_default=sa.true(), nullable=False),
        sa.Column("is_admin", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("username_key", name="uq_users_username_key"),
        sa.UniqueConstraint("email_key", name="uq_users_email_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "profiles",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("bio", sa.Text, nullable=False),
        sa.Column("image", sa.String(255)),
        sa.PrimaryKeyConstraint("user_id", name="pk_profiles"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_profiles_user_id"),
    )
    op.create_table(
        "posts",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("author_id", Id, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_posts"),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name="fk_posts_author_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_posts_author_id_id", "posts", ["author_id", "id"])
    op.create_table(
        "friendships",
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("friend_id", Id, nullable=False),
        sa.CheckConstraint("owner_id <> friend_id", name=op.f("ck_friendships_not_oneself")),
        sa.PrimaryKeyConstraint("owner_id", "friend_id", name="pk_friendships"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_friendships_owner_id"),
        sa.ForeignKeyConstraint(["friend_id"], ["users.id"], name="fk_friendships_friend_id"),
    )
    op.create_index("ix_friendships_friend_id", "friendships", ["friend_id"])
    op.create_table(
        "chat_rooms",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(320), nullable=False),
        sa.Column("low_user_id", Id, nullable=False),
        sa.Column("high_user_id", Id, nullable=False),
        sa.Column("last_message_id", Id, server_default="0", nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("low_user_id < high_user_id", name=op.f("ck_chat_rooms_ordered_pair")),
        sa.PrimaryKeyConstraint("id", name="pk_chat_rooms"),
        sa.UniqueConstraint("name", name="uq_chat_rooms_name"),
        sa.UniqueConstraint(
            "low_user_id", "high_user_id", name="uq_chat_rooms_low_user_id_high_user_id"
        ),
        sa.ForeignKeyConstraint(["low_user_id"], ["users.id"], name="fk_chat_rooms_low_user_id"),
        sa.ForeignKeyConstraint(["high_user_id"], ["users.id"], name="fk_chat_rooms_high_user_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chat_rooms_high_user_id", "chat_rooms", ["high_user_id"])
    op.create_table(
        "messages",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("room_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("client_id", sa.String(64)),
        sa.Column("timestamp", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.ForeignKeyConstraint(["room_id"], ["chat_rooms.id"], name="fk_messages_room_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_messages_user_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_messages_room_id_id", "messages", ["room_id", "id"])
    op.create_index(
        "uq_messages_room_id_user_id_client_id",
        "messages",
        ["room_id", "user_id", "client_id"],
        unique=True,
        sqlite_where=sa.text("client_id IS NOT NULL"),
        postgresql_where=sa.text("client_id IS NOT NULL"),
    )


def downgrade() -> None:
    for table in ("messages", "chat_rooms", "friendships", "posts", "profiles", "users"):
        op.drop_table(table)
