"""Reports errors of commands as a sentence, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import SQLAlchemyError

from app.database.errors import first_line_of, is_unavailable


class DatabaseFailure(click.ClickException):
    """The database cannot be used; nothing was changed."""

    exit_code = 3


@contextmanager
def report_errors() -> Iterator[None]:
    """Report a database that cannot be used, without the statement and its data."""
    try:
        yield
    except SQLAlchemyError as error:
        first_line = first_line_of(error)
        if is_unavailable(error):
            raise DatabaseFailure(f"The database cannot be used: {first_line}") from None
        raise DatabaseFailure(
            f"The database refused: {first_line}. If it is not migrated, run: ./beseda db upgrade"
        ) from None
