"""Shared by the tables of all domains: their base class, aware times, ids never used again."""

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, mapped_column


class Base(DeclarativeBase):
    """The base of all tables. Rows are read and written by Core; `transactions.py` says why."""

    # Constraints have names, so that migrations can drop them on both databases.
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )


def unique_client_id(table: str, *owner: str) -> Index:
    """Return the index by which no two rows of one owner have the same `client_id`.

    Args:
        table: The name of the table.
        owner: The columns of the owner.
    """
    columns = (*owner, "client_id")
    has_one = text("client_id IS NOT NULL")
    name = "_".join(("uq", table, *columns))
    return Index(name, *columns, unique=True, sqlite_where=has_one, postgresql_where=has_one)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite stores no time zone, so reading adds it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        # psycopg's times are aware already, so skip the work for each of them.
        return super().result_processor(dialect, coltype) if dialect.name == "sqlite" else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


CLIENT_ID_CHARS = 64  # of the id that a client gives to what it sends, to send it again safely
LARGEST_ID = 2**63 - 1

# SQLite supports AUTOINCREMENT for INTEGER only.
Id = BigInteger().with_variant(Integer, "sqlite")

# SQLite uses the highest id again after a delete, unless the table has AUTOINCREMENT
# (https://www.sqlite.org/autoinc.html); PostgreSQL's sequences never do.
NEVER_REUSED = {"sqlite_autoincrement": True}

IdColumn = Annotated[int, mapped_column(Id, primary_key=True, autoincrement=True)]
