"""`/healthz` tells whether the process lives, `/readyz` whether it can serve."""

from typing import Literal

from flask import Blueprint, Response
from flask_babel import lazy_gettext as _
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from app.database import revisions
from app.database.errors import UnsupportedEncoding, is_unavailable
from app.database.transactions import reading
from app.http.annotations import documents_error, returns
from app.http.errors import ApiError, DatabaseUnavailable, TemporarilyUnavailable
from app.http.json import json_response
from app.services import services

bp = Blueprint("health", __name__)


class NotMigrated(ApiError):
    """The tables are those of an earlier release, or there are none."""

    status = 503
    code = "not_migrated"
    detail = _("The database is not migrated: run ./beseda db upgrade.")


class WrongEncoding(ApiError):
    """PostgreSQL does not keep the texts of this database in UTF-8."""

    status = 503
    code = "database_encoding"
    detail = _(
        "The database does not keep texts in UTF-8. Create another one:"
        " createdb --template=template0 --encoding=UTF8 NAME"
    )


class Draining(TemporarilyUnavailable):
    """The process is about to stop."""

    code = "draining"
    detail = _("The server is stopping.")


class StatusOut(BaseModel):
    status: Literal["ok", "degraded"] = Field(examples=["ok"])


def check_tables() -> None:
    """Check that the database is there, with tables that this release can use.

    Those of a later release will do: a migration leaves the release before it running.

    Raises:
        DatabaseUnavailable: It is away.
        NotMigrated: The tables are those of an earlier release.
        WrongEncoding: It cannot keep every text.
    """
    try:
        with reading() as connection:
            found = revisions.found_in(connection)
    except SQLAlchemyError as error:
        if isinstance(getattr(error, "orig", None), UnsupportedEncoding):
            raise WrongEncoding from error
        raise (DatabaseUnavailable if is_unavailable(error) else NotMigrated) from error
    if not revisions.is_current(found):
        raise NotMigrated


@bp.get("/healthz")
@returns(StatusOut)
def show_life() -> Response:
    """Answer while the process lives."""
    return json_response({"status": "ok"})


@bp.get("/readyz")
@returns(StatusOut)
@documents_error(DatabaseUnavailable, NotMigrated, WrongEncoding, Draining)
def show_readiness() -> Response:
    """Answer 200 while requests can be served, 503 with the cause while they cannot."""
    realtime = services().realtime
    if realtime.is_stopping:
        raise Draining
    check_tables()
    return json_response({"status": "ok" if realtime.bus_is_healthy() else "degraded"})
