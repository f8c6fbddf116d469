"""The search of who is in many rooms, among very many messages.

The index gets the author of each message, and on PostgreSQL the part of the sequence that its id
belongs to; so it is built again, which the server does. `search_days` says which ids the messages
of a day have. Safe for the release before it, which finds everything once the index is built.

Revision: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# One scan of the index for each room: for an OR of them all, PostgreSQL looks at every room for
# every message that matches. It knows little of what a scan costs here, so it is not asked.
_HITS = """
CREATE FUNCTION search_hits(questions text[], lows bigint[], upto bigint, most bigint)
RETURNS SETOF bigint LANGUAGE sql STABLE SET enable_seqscan = off SET jit = off AS $$
    SELECT hits.message_id FROM unnest(questions, lows) AS rooms (question, low)
    CROSS JOIN LATERAL (
        SELECT message_id FROM message_words
        WHERE words @@ CAST(question AS tsquery)
            AND message_id + 0 > low AND message_id + 0 < upto
        ORDER BY message_id + 0 DESC LIMIT most
    ) AS hits
    ORDER BY hits.message_id DESC LIMIT most
$$
"""


def upgrade() -> None:
    op.execute(
        "CREATE TABLE search_days"
        " (day BIGINT PRIMARY KEY, first_id BIGINT NOT NULL, last_id BIGINT NOT NULL)"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_HITS)
    _build_again()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION search_hits")
    op.execute("DROP TABLE search_days")
    _build_again()


def _build_again() -> None:
    op.execute("DELETE FROM message_words")
    op.execute("UPDATE search_state SET indexed_to = 0")
