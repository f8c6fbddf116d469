"""Which errors mean that the database cannot serve now, and which are defects of ours."""

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

# Result codes of SQLite that mean "not now" (https://www.sqlite.org/rescode.html).
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

# Beginnings of SQLSTATE that mean the same (PostgreSQL manual, appendix A).
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
    # The server does not have the prepared statement that the connection remembers: its tables
    # have changed, or a proxy has handed out another server connection. Asked again it works.
    "0A000",
    "26000",
    "42P05",
)


class DatabaseUnavailable(SQLAlchemyError):
    """The database cannot serve now. Later it may; nothing was changed."""


class UnsupportedEncoding(psycopg.OperationalError):
    """The database of PostgreSQL does not keep its texts in UTF-8; the text says what to do."""


def is_unavailable(error: BaseException) -> bool:
    """Tell a database that is away, read-only, full or busy from a defect of ours."""
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
    # An error that has not come from the server has no SQLSTATE.
    return isinstance(cause, psycopg.OperationalError)


def first_line_of(error: BaseException) -> str:
    """Return what the database says is wrong, without the statement and the data in it."""
    cause = (error.orig if isinstance(error, DBAPIError) else None) or error
    return str(cause).strip().partition("\n")[0]
