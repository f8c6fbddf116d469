"""What can go wrong, and the only code that renders it: as problem+json, or as a frame.

An error is a fact with a name. It is declared as a class beside the service that
raises it, and raised, never returned.
"""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
)

from app.clock import utcnow
from app.database.errors import is_unavailable
from app.http.json import encode
from app.threads import TooBusy

log = logging.getLogger(__name__)

NON_FIELD = "non_field_errors"  # as Django REST Framework names what belongs to no field
PROBLEM = "application/problem+json"
RETRY_SECONDS = 2

FieldErrors = Mapping[str, list[str | LazyString]]


class ApiError(Exception):
    """A refusal, as its client will read it.

    Attributes:
        status: The HTTP status.
        code: A stable word for programs.
        detail: A sentence for people.
        headers: What the answer carries beside the usual headers.
    """

    status = 500
    code = "error"
    detail: str | LazyString = _("The server made a mistake.")

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(self.code)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the members of the problem document (RFC 9457, section 3.1)."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self.detail),
            "code": self.code,
        }

    def response(self) -> Response:
        """Return the HTTP answer."""
        return Response(encode(self.body()), self.status, self.headers, mimetype=PROBLEM)

    def frame(self, client_id: str | None = None) -> bytes:
        """Return the payload of a frame that a client which shows everything can show."""
        error = {"code": self.code}
        if client_id is not None:
            error["client_id"] = client_id
        return encode(
            {
                "id": None,
                "user": None,
                "content": self.sentence(),
                "timestamp": utcnow(),
                "error": error,
            }
        )

    def sentence(self) -> str:
        """Return the one sentence that says most."""
        return str(self.detail)


class BadInput(ApiError):
    """Some fields of the request are wrong; all of them are named."""

    status = 400
    code = "invalid"
    detail = _("Some fields are not right.")

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__()
        self.errors = errors

    def body(self) -> dict[str, Any]:
        # Once more at the top level, where Django REST Framework has them. A field named
        # like a member of RFC 9457 replaces it: readers ignore a member of a wrong type. Only
        # `code` stays, because programs go by it.
        errors = {field: [str(each) for each in said] for field, said in self.errors.items()}
        return super().body() | {"errors": errors} | errors | {"code": self.code}

    def sentence(self) -> str:
        return str(next(iter(self.errors.values()))[0])


class TemporarilyUnavailable(ApiError):
    """It cannot be done now, and may be soon."""

    status = 503

    def __init__(self) -> None:
        super().__init__({"Retry-After": str(RETRY_SECONDS)})


class DatabaseUnavailable(TemporarilyUnavailable):
    """The database is away, read-only, full or out of connections: later it may work."""

    code = "database_unavailable"
    detail = _("The database cannot be reached at the moment. Please try again soon.")


class Overloaded(TemporarilyUnavailable):
    """More slow work is waiting than would be done in time."""

    code = "overloaded"
    detail = _("The server has too much to do at the moment. Please try again soon.")


class _HttpError(ApiError):
    """What Werkzeug refuses before a route is reached."""

    codes: Mapping[int, tuple[str, LazyString]] = {
        400: ("bad_request", _("The request cannot be understood.")),
        404: ("not_found", _("There is no such thing here.")),
        405: ("method_not_allowed", _("This method is not allowed here.")),
        412: ("precondition_failed", _("It is no longer what the request expects.")),
        413: ("too_large", _("The request is too large.")),
        414: ("uri_too_long", _("The address is too long.")),
        415: (
            "unsupported_media_type",
            _("Send JSON (application/json) or form fields."),
        ),
        417: ("expectation_failed", _("The request cannot be understood.")),
        501: ("not_implemented", _("The request cannot be understood.")),
        416: ("range_not_satisfiable", _("There is no such range.")),
        431: ("headers_too_large", _("The headers are too large.")),
    }

    def __init__(self, error: HTTPException) -> None:
        super().__init__()
        self.status = error.code or 500
        self.code, self.detail = self.codes.get(self.status, (ApiError.code, ApiError.detail))
        kept = {"Allow", "Accept", "Retry-After", "Content-Range"}
        self.headers = {name: value for name, value in error.get_headers() if name in kept}

    def body(self) -> dict[str, Any]:
        body = super().body()
        if self.status == HTTPStatus.BAD_REQUEST:  # every 400 has errors
            errors = {NON_FIELD: [body["detail"]]}
            body |= {"errors": errors} | errors
        return body


def as_api_error(error: Exception) -> ApiError:
    """Return what the client is told of an exception; a defect of ours is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return _HttpError(error)
    if isinstance(error, ParseException):  # of gunicorn: the body is not what its headers say
        return _HttpError(BadRequest())
    if isinstance(error, TooBusy):
        return Overloaded()
    if is_unavailable(error):
        log.warning("database unavailable: %s", type(error.__cause__ or error).__name__)
        return DatabaseUnavailable()
    log.error("defect", exc_info=error)
    return ApiError()


def _methods_with_slash() -> Iterable[str]:
    # A path is the same without its last slash, but Werkzeug then calls a wrong method "not found".
    adapter = current_app.create_url_adapter(request)
    if request.url_rule or adapter is None or request.path.endswith("/"):
        return ()
    return adapter.allowed_methods(request.path + "/")


def init_app(app: Flask) -> None:
    """Let every error of an application leave it as problem+json."""

    def render(error: Exception) -> Response:
        if isinstance(error, NotFound) and (methods := _methods_with_slash()):
            error = MethodNotAllowed(methods)
        return as_api_error(error).response()

    def render_unmet(response: Response) -> Response:
        # A file whose `If-Match` is not met is answered by Werkzeug as that file, emptied.
        if response.status_code == 412 and response.mimetype != PROBLEM:
            response.close()
            return render(PreconditionFailed())
        return response

    app.register_error_handler(Exception, render)
    app.after_request(render_unmet)
