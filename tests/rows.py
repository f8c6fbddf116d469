"""What a database holds, for tests that look for what should not be in it."""

from flask import Flask
from sqlalchemy import select

from app.extensions import db
from app.services import services


def stored(app: Flask) -> str:
    """Return every value of every table, as text."""
    with services(app).engine.connect() as connection:
        return "\n".join(
            repr(tuple(row))
            for table in db.metadata.sorted_tables
            for row in connection.execute(select(table))
        )
