"""How Alembic reaches our database: through the application, one migration at a time.

`flask --app wsgi db upgrade` may be run by several machines at once; a lock of PostgreSQL
lets one of them work and the others find it done.
"""

import logging

from alembic import context
from flask import current_app
from sqlalchemy import Connection, text

from app.extensions import db

_LOCK = 0x6265736564610001  # any number, as long as nobody else's: "beseda", 1

config = context.config
logging.getLogger("alembic").setLevel(logging.INFO)


def run(connection: Connection) -> None:
    """Bring the database of a connection to the revision that was asked for."""
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=is_sqlite,  # SQLite cannot alter a column; a batch makes the table anew
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("--sql is not supported: a migration may have to look at the data.")

if (lent := config.attributes.get("connection")) is not None:
    run(lent)  # of somebody who has more to do in the same transaction
else:
    with current_app.extensions["engine"].begin() as connection:
        run(connection)
