"""The parts of every domain's tables: their base, aware times, ids that are never reused."""

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, mapped_column


class Base(DeclarativeBase):
    """A table. Rows are read and written through Core; see `transactions.py` for why."""

    # Named constraints, so that a migration can drop them on every database.
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite keeps no zone, so reading a row adds it again."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        # Psycopg's times are aware already, and a page has a hundred of them.
        return super().result_processor(dialect, coltype) if dialect.name == "sqlite" else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


CLIENT_ID_CHARS = 64  # of the id that a client may give to what it sends, to send it again safely
LARGEST_ID = 2**63 - 1

# SQLite gives AUTOINCREMENT to nothing but INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")

# SQLite reuses the highest id after a delete unless a table says AUTOINCREMENT
# (https://www.sqlite.org/autoinc.html); PostgreSQL's sequences never do.
NEVER_REUSED = {"sqlite_autoincrement": True}

IdColumn = Annotated[int, mapped_column(Id, primary_key=True, autoincrement=True)]
