"""The index of the search: the words of messages, and up to which event id they are in it.

Safe for the release before it, which never looks at these tables. They are no part of the models:
each database has a table of its own kind, and what is in them is made from the messages.

Revision: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE search_state (indexed_to BIGINT NOT NULL)")
    op.execute("INSERT INTO search_state VALUES (0)")
    if op.get_bind().dialect.name == "sqlite":
        # Words come folded, so the tokenizer has to know nothing but spaces: `ascii` takes every
        # letter that is not ASCII as it is, and `_` joins a word to its room.
        op.execute(
            "CREATE VIRTUAL TABLE message_words"
            """ USING fts5(words, tokenize = "ascii tokenchars '_'")"""
        )
    else:
        op.execute(
            "CREATE TABLE message_words (message_id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)"
        )
        # A question reads all that waits to be sorted into the index, so little may wait.
        op.execute(
            "CREATE INDEX ix_message_words_words ON message_words USING gin (words)"
            " WITH (gin_pending_list_limit = 256)"
        )


def downgrade() -> None:
    op.execute("DROP TABLE message_words")
    op.execute("DROP TABLE search_state")
