"""Memberships, groups, edits, and one sequence of numbers for everything that is visible.

Safe for the release before it, which goes on running: rooms that it opens get their memberships
from a trigger, and what it stores draws its id in the order of the commits, as all else does.

Revision: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from app.database.types import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# The lock of the sequence: any number, as long as nobody else's ("beseda", 2). The same number
# stands in app/database/sequence.py.
_LOCK = 0x6265736564610002

_KINDS = (
    "(kind = 'pair' AND low_user_id IS NOT NULL AND high_user_id IS NOT NULL)"
    " OR (kind = 'group' AND low_user_id IS NULL AND high_user_id IS NULL)"
)
_PAIR_COLUMNS = ("low_user_id", "high_user_id")


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    _change_rooms(is_sqlite)
    op.add_column("messages", sa.Column("changed_id", Id))
    op.add_column("messages", sa.Column("edited_at", UtcDateTime))
    op.add_column("messages", sa.Column("deleted_at", UtcDateTime))
    op.add_column("messages", sa.Column("reply_to_id", Id))
    op.add_column("users", sa.Column("changed_id", Id))
    for table in ("messages", "users"):
        op.create_index(
            f"ix_{table}_changed_id",
            table,
            ["changed_id"],
            sqlite_where=sa.text("changed_id IS NOT NULL"),
            postgresql_where=sa.text("changed_id IS NOT NULL"),
        )
    op.create_table(
        "installation",
        sa.Column("id", Id, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_installation"),
    )
    _create_memberships()
    if is_sqlite:
        _serve_earlier_release_on_sqlite()
    else:
        _serve_earlier_release_on_postgresql()


def _change_rooms(is_sqlite: bool) -> None:
    if is_sqlite:
        _rewrite_pair_columns(" NOT NULL", "")
        # A CHECK can be added to a table of SQLite together with a column, and not by itself.
        op.execute(
            "ALTER TABLE chat_rooms ADD COLUMN kind VARCHAR(10) DEFAULT 'pair' NOT NULL"
            f" CONSTRAINT ck_chat_rooms_kind CHECK ({_KINDS})"
        )
    else:
        for column in _PAIR_COLUMNS:
            op.alter_column("chat_rooms", column, nullable=True)
        op.add_column(
            "chat_rooms", sa.Column("kind", sa.String(10), server_default="pair", nullable=False)
        )
        op.create_check_constraint(op.f("ck_chat_rooms_kind"), "chat_rooms", _KINDS)
    op.add_column("chat_rooms", sa.Column("title", sa.String(100)))
    op.add_column("chat_rooms", sa.Column("image", sa.String(255)))
    op.add_column(
        "chat_rooms", sa.Column("history", sa.String(10), server_default="all", nullable=False)
    )
    op.add_column("chat_rooms", sa.Column("creator_id", Id))
    op.add_column("chat_rooms", sa.Column("client_id", sa.String(64)))
    op.add_column("chat_rooms", sa.Column("changed_id", Id))
    for column in ("created_id", "access_version"):
        op.add_column("chat_rooms", sa.Column(column, Id, server_default="0", nullable=False))
    op.execute("UPDATE chat_rooms SET changed_id = 0")
    op.create_index("ix_chat_rooms_changed_id", "chat_rooms", ["changed_id"])
    op.create_index(
        "uq_chat_rooms_creator_id_client_id",
        "chat_rooms",
        ["creator_id", "client_id"],
        unique=True,
        sqlite_where=sa.text("client_id IS NOT NULL"),
        postgresql_where=sa.text("client_id IS NOT NULL"),
    )


def _rewrite_pair_columns(old: str, new: str) -> None:
    # To make a table of SQLite anew, foreign keys would have to be off, which they cannot be in a
    # transaction. What is not written into the rows may be changed in the schema itself
    # (https://www.sqlite.org/lang_altertable.html, section 7).
    connection = op.get_bind()
    sql = connection.scalar(sa.text("SELECT sql FROM sqlite_master WHERE name = 'chat_rooms'"))
    changed = sql
    for column in _PAIR_COLUMNS:
        changed = changed.replace(f"{column} INTEGER{old}", f"{column} INTEGER{new}")
    if changed == sql:
        raise RuntimeError("The table chat_rooms is not as the migrations have left it.")
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    connection.execute(
        sa.text("UPDATE sqlite_master SET sql = :sql WHERE name = 'chat_rooms'"), {"sql": changed}
    )
    connection.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = RESET"))  # and read it anew


def _create_memberships() -> None:
    op.create_table(
        "memberships",
        sa.Column("room_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("role", sa.String(10), server_default="member", nullable=False),
        sa.Column("joined_at", UtcDateTime, nullable=False),
        sa.Column("joined_id", Id, nullable=False),
        sa.Column("visible_from", Id, server_default="0", nullable=False),
        sa.Column("left_id", Id),
        sa.Column("muted", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("changed_id", Id, nullable=False),
        sa.Column("read_id", Id, server_default="0", nullable=False),
        sa.Column("read_changed_id", Id, server_default="0", nullable=False),
        sa.CheckConstraint("role IN ('admin', 'member')", name=op.f("ck_memberships_role")),
        sa.PrimaryKeyConstraint("room_id", "user_id", name="pk_memberships"),
        sa.ForeignKeyConstraint(["room_id"], ["chat_rooms.id"], name="fk_memberships_room_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_memberships_user_id"),
    )
    for column in _PAIR_COLUMNS:
        # Nobody shall find all that was said before as unread.
        op.execute(
            "INSERT INTO memberships"  # noqa: S608
            " (room_id, user_id, joined_at, joined_id, changed_id, read_id)"
            f" SELECT id, {column}, created_at, 0, 0, last_message_id FROM chat_rooms"
        )
    op.create_index("ix_memberships_user_id_room_id", "memberships", ["user_id", "room_id"])
    op.create_index("ix_memberships_joined_id", "memberships", ["joined_id"])
    op.create_index("ix_memberships_changed_id", "memberships", ["changed_id"])
    op.create_index("ix_memberships_read_changed_id", "memberships", ["read_changed_id"])


# A room of the release before has no changed_id.
_SQLITE_TRIGGER = """
CREATE TRIGGER add_pair_memberships AFTER INSERT ON chat_rooms WHEN NEW.changed_id IS NULL
BEGIN
    UPDATE sqlite_sequence SET seq = seq + 2 WHERE name = 'messages';
    INSERT INTO memberships (room_id, user_id, joined_at, joined_id, changed_id, read_id)
    SELECT NEW.id, NEW.low_user_id, NEW.created_at, seq - 1, seq - 1, seq - 1
    FROM sqlite_sequence WHERE name = 'messages';
    INSERT INTO memberships (room_id, user_id, joined_at, joined_id, changed_id, read_id)
    SELECT NEW.id, NEW.high_user_id, NEW.created_at, seq, seq, seq
    FROM sqlite_sequence WHERE name = 'messages';
    UPDATE chat_rooms
    SET changed_id = 0, created_id = (SELECT seq FROM sqlite_sequence WHERE name = 'messages')
    WHERE id = NEW.id;
END
"""


def _serve_earlier_release_on_sqlite() -> None:
    op.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'messages', 0"
        " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'messages')"
    )
    op.execute(_SQLITE_TRIGGER)


# Lock and number belong together: whoever draws one waits until all numbers below it can be seen,
# or never will be. As the default of the column it holds for what earlier releases insert as well.
_NEXTVAL_IN_ORDER = f"""
CREATE FUNCTION nextval_in_order(sequence regclass) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({_LOCK});
    RETURN nextval(sequence);
END $$
"""
_POSTGRESQL_TRIGGER = """
CREATE FUNCTION add_pair_memberships() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    member bigint;
    number bigint;
BEGIN
    FOREACH member IN ARRAY ARRAY[NEW.low_user_id, NEW.high_user_id] LOOP
        number := nextval_in_order('messages_id_seq');
        INSERT INTO memberships (room_id, user_id, joined_at, joined_id, changed_id, read_id)
        VALUES (NEW.id, member, NEW.created_at, number, number, number);
    END LOOP;
    UPDATE chat_rooms SET changed_id = 0, created_id = number WHERE id = NEW.id;
    RETURN NULL;
END $$
"""


def _serve_earlier_release_on_postgresql() -> None:
    op.execute(_NEXTVAL_IN_ORDER)
    for table in ("messages", "posts"):
        op.execute(
            f"ALTER TABLE {table} ALTER COLUMN id"
            f" SET DEFAULT nextval_in_order('{table}_id_seq'::regclass)"
        )
    op.execute(_POSTGRESQL_TRIGGER)
    op.execute(
        "CREATE TRIGGER add_pair_memberships AFTER INSERT ON chat_rooms"
        " FOR EACH ROW WHEN (NEW.changed_id IS NULL) EXECUTE FUNCTION add_pair_memberships()"
    )


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute("DROP TRIGGER add_pair_memberships" + ("" if is_sqlite else " ON chat_rooms"))
    if not is_sqlite:
        for table in ("messages", "posts"):
            op.execute(
                f"ALTER TABLE {table} ALTER COLUMN id"
                f" SET DEFAULT nextval('{table}_id_seq'::regclass)"
            )
        op.execute("DROP FUNCTION add_pair_memberships")
        op.execute("DROP FUNCTION nextval_in_order")
    op.drop_table("memberships")
    op.drop_table("installation")
    # What only this release knows would be seen by all in the release before.
    op.execute(
        "DELETE FROM messages WHERE deleted_at IS NOT NULL"
        " OR room_id IN (SELECT id FROM chat_rooms WHERE kind = 'group')"
    )
    op.execute("DELETE FROM chat_rooms WHERE kind = 'group'")
    op.drop_index("ix_users_changed_id", table_name="users")
    op.drop_column("users", "changed_id")
    op.drop_index("ix_messages_changed_id", table_name="messages")
    for column in ("changed_id", "edited_at", "deleted_at", "reply_to_id"):
        op.drop_column("messages", column)
    op.drop_index("uq_chat_rooms_creator_id_client_id", table_name="chat_rooms")
    op.drop_index("ix_chat_rooms_changed_id", table_name="chat_rooms")
    if not is_sqlite:
        op.drop_constraint(op.f("ck_chat_rooms_kind"), "chat_rooms")
    for column in (
        *("kind", "title", "image", "history", "creator_id", "client_id"),
        *("changed_id", "created_id", "access_version"),
    ):
        op.drop_column("chat_rooms", column)
    if is_sqlite:
        _rewrite_pair_columns("", " NOT NULL")
    else:
        for column in _PAIR_COLUMNS:
            op.alter_column("chat_rooms", column, nullable=False)
