"""`flask --app wsgi search …`: care for the index of the search."""

import sys

import click
from flask.cli import AppGroup
from sqlalchemy import func, select

from app.cli.errors import report_errors
from app.database.engine import be_patient
from app.database.transactions import current_engine, reading
from app.messenger.models import Message
from app.messenger.search import index

search = AppGroup("search", help="Care for the index of the search.")


@search.command("rebuild")
def rebuild() -> None:
    """Build the index of the search anew.

    The server may go on meanwhile; messages that are not in the index yet are not found. What is
    interrupted is continued by the server.
    """
    engine = current_engine()
    be_patient(engine)
    with report_errors():
        with reading() as connection:
            count = connection.scalar(select(func.count()).select_from(Message)) or 0
        with click.progressbar(length=count, label="Messages", file=sys.stderr) as bar:
            index.rebuild(engine, bar.update)
