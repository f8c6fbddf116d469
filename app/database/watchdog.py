"""Ends statements to which PostgreSQL does not respond.

If the server is frozen or the network drops all packets, a statement would never end.
"""

import logging
import os
import socket
import threading
from collections.abc import Collection
from contextlib import suppress
from time import sleep
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.database.pool import pool_of

log = logging.getLogger(__name__)

_CHECK_SECONDS = 0.25


def start_watchdog(engine: Engine) -> None:
    """Close connections that have been lent for too long, so that their callers get an error.

    For workers only: commands of an operator may take longer.
    """
    if engine.dialect.name != "sqlite":
        threading.Thread(
            target=_watch_forever, args=(engine,), name="database watchdog", daemon=True
        ).start()


def _watch_forever(engine: Engine) -> None:
    done: Collection[Connection] = ()
    while True:
        sleep(_CHECK_SECONDS)
        overdue = pool_of(engine).overdue()
        for connection in overdue.difference(done):
            log.warning("PostgreSQL does not respond: a connection is closed")
            _disconnect(connection)
        done = overdue


def _disconnect(connection: Connection) -> None:
    # The greenlet that waits for this socket now reads end-of-file, as if the server had closed it.
    if connection.invalidated:  # closed already; reading the attribute below would connect again
        return
    with suppress(OSError, SQLAlchemyError, psycopg.Error):
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
