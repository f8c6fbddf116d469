"""`./beseda search …`: maintains the search index."""

import sys

import click
from flask.cli import AppGroup
from sqlalchemy import func, select

from app.cli.errors import report_errors
from app.database.engine import be_patient
from app.database.transactions import current_engine, reading
from app.messenger.models import Message
from app.messenger.search import index

search = AppGroup("search", help="Maintain the search index.")


@search.command("rebuild")
def rebuild() -> None:
    """Build the search index again.

    The server may run meanwhile; messages that are not in the index yet are not found. If the
    command is interrupted, the server continues its work.
    """
    engine = current_engine()
    be_patient(engine)
    with report_errors():
        with reading() as connection:
            count = connection.scalar(select(func.count()).select_from(Message)) or 0
        with click.progressbar(length=count, label="Messages", file=sys.stderr) as bar:
            index.rebuild(engine, bar.update)
