"""The base of all errors that clients see, and the only code that renders them.

Over HTTP an error is problem+json, over a WebSocket it is a frame. Each error is a class beside the
service that raises it; errors are raised, never returned.
"""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, NotFound

from app.clock import utcnow
from app.database.errors import is_unavailable
from app.http.json import encode
from app.threads import TooBusy

log = logging.getLogger(__name__)

NON_FIELD = "non_field_errors"  # Django REST Framework's name for errors of no single field
PROBLEM = "application/problem+json"
RETRY_SECONDS = 2

FieldErrors = Mapping[str, list[str | LazyString]]


class ApiError(Exception):
    """An error that a client is told.

    Attributes:
        status: The HTTP status.
        code: A stable word for programs.
        detail: A sentence for people.
        headers: Additional headers of the response.
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
        """Return the HTTP response."""
        return Response(encode(self.body()), self.status, self.headers, mimetype=PROBLEM)

    def frame(self, client_id: str | None = None) -> bytes:
        """Return the text of a frame, which a client may show like a message."""
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
        """Return the most specific sentence."""
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
        # The fields stand at the top level too, as in Django REST Framework. A field named like a
        # member of RFC 9457 replaces that member, and clients ignore a member of a wrong type. Only
        # `code` stays, because programs depend on it.
        errors = {field: [str(each) for each in said] for field, said in self.errors.items()}
        return super().body() | {"errors": errors} | errors | {"code": self.code}

    def sentence(self) -> str:
        return str(next(iter(self.errors.values()))[0])


class TemporarilyUnavailable(ApiError):
    """The request cannot be served now; it may work soon."""

    status = 503

    def __init__(self) -> None:
        super().__init__({"Retry-After": str(RETRY_SECONDS)})


class DatabaseUnavailable(TemporarilyUnavailable):
    """The database is not available, read-only, full or out of connections."""

    code = "database_unavailable"
    detail = _("The database cannot be reached at the moment. Please try again soon.")


class Overloaded(TemporarilyUnavailable):
    """The queue of slow work is full."""

    code = "overloaded"
    detail = _("The server has too much to do at the moment. Please try again soon.")


class _HttpError(ApiError):
    """An error of Werkzeug, raised before a route is reached."""

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
    """Return the error that the client is told for an exception; log a defect of ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return _HttpError(error)
    if isinstance(error, ParseException):  # of gunicorn: the body does not match its headers
        return _HttpError(BadRequest())
    if isinstance(error, TooBusy):
        return Overloaded()
    if is_unavailable(error):
        log.warning("database unavailable: %s", type(error.__cause__ or error).__name__)
        return DatabaseUnavailable()
    log.error("defect", exc_info=error)
    return ApiError()


def _methods_with_slash() -> Iterable[str]:
    # The last slash is optional, but without it Werkzeug responds to a wrong method with 404.
    adapter = current_app.create_url_adapter(request)
    if request.url_rule or adapter is None or request.path.endswith("/"):
        return ()
    return adapter.allowed_methods(request.path + "/")


def init_app(app: Flask) -> None:
    """Render every error of an application as problem+json."""

    def render(error: Exception) -> Response:
        if isinstance(error, NotFound) and (methods := _methods_with_slash()):
            error = MethodNotAllowed(methods)
        return as_api_error(error).response()

    app.register_error_handler(Exception, render)
