"""`/healthz`: the process runs. `/readyz`: it can serve requests."""

from typing import Annotated, Literal

from flask import Blueprint, Response
from flask_babel import lazy_gettext as _
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import TypedDict

from app.database import revisions
from app.database.errors import UnsupportedEncoding, is_unavailable
from app.database.transactions import reading
from app.http.annotations import documents_error, returns
from app.http.errors import ApiError, DatabaseUnavailable, TemporarilyUnavailable
from app.http.json import json_response
from app.services import services

bp = Blueprint("health", __name__)


class NotMigrated(ApiError):
    """The tables belong to an earlier release, or there are none."""

    status = 503
    code = "not_migrated"
    detail = _("The database is not migrated: run ./beseda db upgrade.")


class WrongEncoding(ApiError):
    """The encoding of this PostgreSQL database is not UTF-8."""

    status = 503
    code = "database_encoding"
    detail = _(
        "The database does not keep texts in UTF-8. Create another one:"
        " createdb --template=template0 --encoding=UTF8 NAME"
    )


class Draining(TemporarilyUnavailable):
    """The process is stopping."""

    code = "draining"
    detail = _("The server is stopping.")


class StatusOut(TypedDict):
    status: Annotated[Literal["ok", "degraded"], Field(examples=["ok"])]


def check_tables() -> None:
    """Check that the database is available and this release can use its tables.

    Tables of a later release are usable too: migrations keep them usable for the release before.

    Raises:
        DatabaseUnavailable: It is not available.
        NotMigrated: The tables belong to an earlier release.
        WrongEncoding: Its encoding is not UTF-8.
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
    """Respond 200 while the process runs.

    It asks no database: for whatever restarts a process that hangs.
    """
    return json_response({"status": "ok"})


@bp.get("/readyz")
@returns(StatusOut)
@documents_error(DatabaseUnavailable, NotMigrated, WrongEncoding, Draining)
def show_readiness() -> Response:
    """Respond 200 if requests can be served, otherwise 503 with the cause.

    While only Redis is away it is 200 with `degraded`: messages still arrive, a little later.
    """
    realtime = services().realtime
    if realtime.is_stopping:
        raise Draining
    check_tables()
    return json_response({"status": "ok" if realtime.bus_is_healthy() else "degraded"})
