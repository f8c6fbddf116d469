"""Which revision of the tables a database has, and which ones this release knows."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).parents[2] / "migrations"


@cache
def heads() -> frozenset[str]:
    """Return the revisions that this release was written for."""
    return frozenset(ScriptDirectory(str(MIGRATIONS)).get_heads())


@cache
def known() -> frozenset[str]:
    """Return all revisions from which this release can migrate."""
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return frozenset(script.revision for script in scripts)


def found_in(connection: Connection) -> frozenset[str]:
    """Return the revisions that a database is at.

    Raises:
        SQLAlchemyError: Nobody has migrated it, or it is away.
    """
    return frozenset(connection.scalars(text("SELECT version_num FROM alembic_version")))


def upgrade(connection: Connection) -> None:
    """Make the tables of this release, in the transaction that the connection has begun."""
    config = Config(MIGRATIONS / "alembic.ini")
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
