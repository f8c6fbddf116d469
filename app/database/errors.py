"""Tells errors of a database that is not available from defects of ours."""

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

# Result codes of SQLite that mean "not available" (https://www.sqlite.org/rescode.html).
_SQLITE_UNAVAILABLE = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_READONLY",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_CANTOPEN",
    "SQLITE_PROTOCOL",
    "SQLITE_NOMEM",
)

# Prefixes of SQLSTATE that mean the same (PostgreSQL manual, appendix A).
_POSTGRESQL_UNAVAILABLE = (
    "08",  # connection lost
    "25006",  # read-only
    "25P03",  # idle in a transaction for too long
    "25P04",  # transaction took too long
    "40",  # rolled back: deadlock, conflict of transactions
    "53",  # out of disk, memory or connections
    "55P03",  # a lock was not free in time
    "57014",  # statement took too long, or an administrator cancelled it
    "57P",  # shut down, starting, database dropped
    "58",  # system error, such as a failing disk
    # The server does not know a prepared statement that the connection knows: its tables have
    # changed, or a proxy has switched the server connection. The next attempt works.
    "0A000",
    "26000",
    "42P05",
)


class DatabaseUnavailable(SQLAlchemyError):
    """The database is not available at the moment; nothing was changed."""


class UnsupportedEncoding(psycopg.OperationalError):
    """The encoding of the PostgreSQL database is not UTF-8; the text says what to do."""


def is_unavailable(error: BaseException) -> bool:
    """Tell whether an error means a database that is away, read-only, full or busy."""
    if isinstance(error, DatabaseUnavailable):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    cause = error.orig
    if name := getattr(cause, "sqlite_errorname", None):
        return bool(name.startswith(_SQLITE_UNAVAILABLE))
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return bool(state.startswith(_POSTGRESQL_UNAVAILABLE))
    # Errors of the client library have no SQLSTATE.
    return isinstance(cause, psycopg.OperationalError)


def first_line_of(error: BaseException) -> str:
    """Return the database's own message, without the statement and its data."""
    cause = (error.orig if isinstance(error, DBAPIError) else None) or error
    return str(cause).strip().partition("\n")[0]
