"""How Alembic reaches our database: through the application, one migration at a time.

Several machines may run `flask --app wsgi db upgrade` at once: a lock of PostgreSQL lets one of
them work, and the others find it done.
"""

import logging

from alembic import context
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from app.database import revisions
from app.database.errors import first_line_of, is_unavailable
from app.extensions import db
from app.services import services

_LOCK = 0x6265736564610001  # any number that nobody else uses: "beseda", 1

log = logging.getLogger("alembic")
config = context.config


def _is_of_models(name: str | None, kind: str, _parents: object) -> bool:
    # The search has tables of its own, and they have no models.
    return kind != "table" or not (name or "").startswith(("message_words", "search_"))


def run(connection: Connection) -> None:
    """Bring the database of a connection to the revision that was asked for."""
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if is_left_alone(connection):
        log.info("The database is of a later release. It is left as it is.")
        return
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=is_sqlite,  # SQLite cannot alter a column; a batch makes the table anew
        compare_server_default=True,
        include_name=_is_of_models,
    )
    with context.begin_transaction():
        context.run_migrations()


def is_left_alone(connection: Connection) -> bool:
    """Tell whether this is an upgrade to this release, after a later one has migrated.

    Going back to an older release runs its `db upgrade` too, which must not fail.
    """
    try:
        destination = context.get_revision_argument()
    except (KeyError, CommandError):  # the command has none, or one that is not there
        return False
    if destination not in revisions.heads():
        return False
    found = MigrationContext.configure(connection).get_current_heads()
    return revisions.is_later(frozenset(found))


def run_alone() -> None:
    """Do so with a connection and a transaction of its own."""
    try:
        with services().engine.begin() as connection:
            run(connection)
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        raise SystemExit(f"The database cannot be used: {first_line_of(error)}") from None


if context.is_offline_mode():
    raise SystemExit("--sql is not supported: a migration may have to look at the data.")

if (lent := config.attributes.get("connection")) is not None:
    log.setLevel(logging.WARNING)
    run(lent)  # of somebody who has more to do in the same transaction
else:
    log.setLevel(logging.INFO)
    run_alone()
