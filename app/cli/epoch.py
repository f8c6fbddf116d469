"""`./beseda new-epoch`: tells clients that the database was restored to an earlier state."""

import click
from flask.cli import with_appcontext

from app.cli.errors import report_errors
from app.messenger.events import begin_epoch
from app.services import services


@click.command("new-epoch")
@with_appcontext
def new_epoch() -> None:
    """Make clients load everything again. Run it after `pg_restore`, before the server starts.

    Clients remember the id of the last event. A restored database gives the same ids to other
    events, so clients must not continue from there. `restore` does this by itself.
    """
    with report_errors():
        begin_epoch(services().engine)
    click.echo("Clients will load everything again.")
