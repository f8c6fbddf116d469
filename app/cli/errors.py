"""What an operator is told when a command fails: a sentence, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import SQLAlchemyError

from app.database.errors import first_line_of, is_unavailable


class DatabaseFailure(click.ClickException):
    """Nothing was done; when the database is well again, it may be."""

    exit_code = 3


@contextmanager
def report_errors() -> Iterator[None]:
    """Tell of a database that cannot be used, without the statement and the data in it."""
    try:
        yield
    except SQLAlchemyError as error:
        first_line = first_line_of(error)
        if is_unavailable(error):
            raise DatabaseFailure(f"The database cannot be used: {first_line}") from None
        raise DatabaseFailure(
            f"The database refused: {first_line}. If it is not migrated, run: ./beseda db upgrade"
        ) from None
