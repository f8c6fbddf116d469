"""Removes files: those whose message was deleted, and those that never got one.

A file goes in two steps. A transaction says that it has expired, so nobody gets it any more; then
the file is deleted, and at last its row. Whatever dies in between, the next round finds the row.
"""

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from time import sleep

from flask import Flask
from sqlalchemy import ColumnElement, Connection, delete, select, update

from app.clock import utcnow
from app.database.errors import is_unavailable
from app.database.transactions import reading, writing
from app.messenger.files.models import Upload
from app.services import services

log = logging.getLogger(__name__)

ROUND_SECONDS = 60.0
REMOVED_AT_ONCE = 100
# The clocks of machines differ; a file that has just expired may be in a transaction of another.
GRACE = timedelta(seconds=10)


def expire(connection: Connection, *which: ColumnElement[bool]) -> Sequence[str]:
    """Let files expire in a transaction; `remove` them after it.

    Returns:
        Their ids.
    """
    query = update(Upload).where(*which).values(expires_at=utcnow(), message_id=None)
    return connection.scalars(query.returning(Upload.id)).all()


def remove(upload_ids: Sequence[str]) -> int:
    """Remove files that have expired, and their rows; what cannot be removed now stays for later.

    Args:
        upload_ids: Of rows whose expiry is committed.

    Returns:
        How many were removed.
    """
    store = services().files
    removed = []
    for upload_id in upload_ids:
        try:
            store.delete(upload_id)
            store.delete(f"{upload_id}-small")
        except OSError as error:
            log.warning("a file is to be removed later: %s", error)
        else:
            removed.append(upload_id)
    if removed:
        has_expired = Upload.expires_at.is_not(None)
        with writing() as connection:
            connection.execute(delete(Upload).where(Upload.id.in_(removed), has_expired))
    return len(removed)


def remove_expired() -> int:
    """Remove some of what has expired, and return how many files that were."""
    expired = select(Upload.id).where(Upload.expires_at < utcnow() - GRACE)
    with reading() as connection:
        upload_ids = connection.scalars(expired.limit(REMOVED_AT_ONCE)).all()
    return remove(upload_ids)


def start_removal(app: Flask) -> None:
    """Remove what has expired once a minute, in a thread of this worker."""
    threading.Thread(target=_remove_forever, args=(app,), name="files", daemon=True).start()


def _remove_forever(app: Flask) -> None:
    while True:
        sleep(ROUND_SECONDS)
        try:
            with app.app_context():
                while remove_expired() == REMOVED_AT_ONCE:
                    sleep(0.1)
        except Exception as error:
            if not is_unavailable(error):
                log.exception("files that have expired could not be removed")
