"""`./beseda copy-database`: moves an installation from SQLite to PostgreSQL."""

import sys

import click
from click.core import ParameterSource
from flask.cli import with_appcontext
from sqlalchemy import create_engine, make_url

from app.cli.errors import report_errors
from app.database.engine import engine_options, prepare
from app.operations.copy_database import CopyError, rows_in
from app.operations.copy_database import copy_database as copy_all
from app.services import services
from config_urls import database_url

_VARIABLE = "TARGET_DATABASE_URL"


@click.command("copy-database")
@click.argument("target_url", envvar=_VARIABLE)
@click.pass_context
@with_appcontext
def copy_database(context: click.Context, target_url: str) -> None:
    """Copy the database of this installation to TARGET_URL: all of it, or nothing.

    TARGET_URL (or the variable TARGET_DATABASE_URL) is the URL of an empty database; the command
    creates the tables. Do not write a password on the command line, where everybody on the machine
    can see it: set PGPASSWORD, or put the whole URL into the variable.

    Stop the server first, so that no message is missing from the copy. Ids stay as they are; those
    of deleted rows are not used again. All rows are read back and compared before the commit.
    """
    try:
        url = database_url(target_url)
    except ValueError as error:
        raise click.BadParameter(f"Expected {error}.", param_hint="TARGET_URL") from None
    by_hand = context.get_parameter_source("target_url") is ParameterSource.COMMANDLINE
    if by_hand and make_url(url).password:
        raise click.BadParameter(
            "Everybody on this machine can see a password on the command line. Leave it out"
            f" and set PGPASSWORD, or put the whole URL into {_VARIABLE}.",
            param_hint="TARGET_URL",
        )
    source = services().engine
    if make_url(url)._replace(password=None) == source.url._replace(password=None):
        raise click.ClickException("This is the database of this installation itself.")
    target = create_engine(url, **engine_options(url, 1))
    prepare(target)
    try:
        with (
            report_errors(),
            click.progressbar(
                length=2 * rows_in(source),
                label="Copying and comparing",
                file=sys.stderr,
            ) as bar,
        ):
            copied = copy_all(source, target, bar.update)
    except CopyError as error:
        raise click.ClickException(str(error)) from None
    finally:
        target.dispose()
    rows = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in copied.tables.items())
    click.echo(f"Copied and compared: {rows}.")
    if copied.is_outdated:
        click.echo(
            "Warning: the old database was changed meanwhile, and the changes are not in the copy."
            " Stop the server and copy again, into another empty database.",
            err=True,
        )
    click.echo(
        "Now set DATABASE_URL to it, and JWT_SECRET_KEY to the present key, so that"
        " everybody stays logged in.",
        err=True,
    )
