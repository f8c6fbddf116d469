"""Ids of users and rooms become visible in ascending order on PostgreSQL, as those of posts do.

Whoever asks a list for what comes after an id then misses nothing. Safe for the release before
it: the order is the default of the columns. Each list has a lock of its own, because a new user may
wait for a name or an address that another transaction writes, which may wait for an event id.

Revision: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = ("users", "chat_rooms")

# A transaction becomes visible before its locks are released, so that all smaller ids are visible
# when an id is drawn, or never will be. The key of the lock is "bess" and the id of the sequence.
_FUNCTION = """
CREATE FUNCTION nextval_in_own_order(sequence regclass) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock((x'62657373'::bigint << 32) + sequence::oid::bigint);
    RETURN nextval(sequence);
END
$$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return  # one transaction writes at a time
    op.execute(_FUNCTION)
    for table in TABLES:
        op.execute(
            f"ALTER TABLE {table} ALTER COLUMN id"
            f" SET DEFAULT nextval_in_own_order('{table}_id_seq'::regclass)"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table in TABLES:
        op.execute(
            f"ALTER TABLE {table} ALTER COLUMN id SET DEFAULT nextval('{table}_id_seq'::regclass)"
        )
    op.execute("DROP FUNCTION nextval_in_own_order")
