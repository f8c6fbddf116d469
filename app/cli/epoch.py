"""`flask --app wsgi new-epoch`: says that the database has gone back in time."""

import click
from flask.cli import with_appcontext

from app.cli.errors import report_errors
from app.messenger.events import begin_epoch
from app.services import services


@click.command("new-epoch")
@with_appcontext
def new_epoch() -> None:
    """Let clients load everything anew; after `pg_restore`, before the server starts.

    Clients remember how far they have been told. A restored database gives the same numbers to
    other events, so they must not go on from there. `restore` does it by itself.
    """
    with report_errors():
        begin_epoch(services().engine)
    click.echo("Clients will load everything anew.")
