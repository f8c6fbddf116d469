"""The revision of a database's tables, and the revisions that this release knows."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).parents[2] / "migrations"


@cache
def heads() -> frozenset[str]:
    """Return the newest revisions that this release knows."""
    return frozenset(ScriptDirectory(str(MIGRATIONS)).get_heads())


@cache
def known() -> frozenset[str]:
    """Return all revisions that this release knows."""
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return frozenset(script.revision for script in scripts)


def load() -> None:
    """Read both now: later the files on the disk may be those of the next release."""
    heads()
    known()


def found_in(connection: Connection) -> frozenset[str]:
    """Return the revisions of a database.

    Raises:
        SQLAlchemyError: It has never been migrated, or is not available.
    """
    return frozenset(connection.scalars(text("SELECT version_num FROM alembic_version")))


def is_current(found: frozenset[str]) -> bool:
    """Tell whether this release can work with tables of these revisions.

    A revision that it does not know belongs to a later release. Migrations keep the tables usable
    for the release before.
    """
    return found == heads() or is_later(found)


def is_later(found: frozenset[str]) -> bool:
    """Tell whether a later release has migrated the tables."""
    return bool(found - known())


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Create the tables of a revision, in the transaction that the connection has begun."""
    config = Config(MIGRATIONS / "alembic.ini")
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
