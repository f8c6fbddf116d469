"""What an operator is told when a command fails: a sentence, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.database import is_unavailable


@contextmanager
def told_plainly() -> Iterator[None]:
    """Tell of a database that cannot be used, without the statement and the data in it."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = (error.orig if isinstance(error, DBAPIError) else None) or error
        first_line = str(cause).strip().partition("\n")[0]
        if is_unavailable(error):
            raise click.ClickException(f"The database cannot be used: {first_line}") from None
        raise click.ClickException(
            f"The database refused: {first_line}."
            " If it is not migrated, run: flask --app wsgi db upgrade"
        ) from None
