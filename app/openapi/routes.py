"""`/api/`: the OpenAPI document, and a page to read it and to try the API out.

The page is Swagger UI 5.35.0 (https://www.npmjs.com/package/swagger-ui-dist, Apache 2.0):
`swagger_ui/` has its files as they were published. It loads nothing from elsewhere, and what
is typed into it goes nowhere but to this server.
"""

from functools import lru_cache
from pathlib import Path

from flask import Blueprint, Flask, Response, current_app, send_from_directory

from app.http.annotations import documents_response, undocumented
from app.http.conditional import conditional, has_validator
from app.http.json import encode
from app.http.languages import preferred
from app.openapi.document import build

bp = Blueprint("docs", __name__, url_prefix="/api")

_SWAGGER_UI = Path(__file__).with_name("swagger_ui")
_PAGES = Path(__file__).with_name("pages")
_ASSETS = ("start.js", "swagger-ui.css", "swagger-ui-bundle.js")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@lru_cache(maxsize=4)
def encoded(app: Flask, language: str) -> bytes:
    """Return the document as JSON; made for the first who asks for it, in some 10 ms."""
    return encode(build(app, language))


@bp.get("/openapi.json")
@documents_response(
    200, "The OpenAPI document.", {"application/json": {"schema": {"type": "object"}}}
)
@conditional
def show_document() -> Response:
    """Describe this API, as OpenAPI 3.1.

    Its examples are in the language that `Accept-Language` asks for.
    """
    # Flask's `current_app` stands for a different application in each request.
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    response = Response(encoded(app, preferred()), mimetype="application/json")
    response.vary.add("Accept-Language")
    response.cache_control.no_cache = True  # to be kept, and asked about each time
    return response


@bp.get("/docs/")
@documents_response(200, "The page.", {"text/html": {"schema": {"type": "string"}}})
@has_validator
def show_page() -> Response:
    """Show this document to people, who can try everything out.

    It asks no other server for anything.
    """
    return _file(_SWAGGER_UI, "index.html")


@bp.get("/docs/websocket/")
@undocumented("a page for people")
@has_validator
def show_sockets() -> Response:
    """Describe the WebSockets to people; the page is `docs/websocket.md`, rendered."""
    return _file(_PAGES, "websocket.html")


@bp.get("/docs/reference.css")
@undocumented("a part of the pages")
def show_style() -> Response:
    """Serve what both pages look like."""
    return _file(_PAGES, "reference.css")


@bp.get(f"/docs/<any({', '.join(map(repr, _ASSETS))}):name>")
@undocumented("a part of the page")
def show_asset(name: str) -> Response:
    """Serve what the page is made of."""
    return _file(_SWAGGER_UI, name)


def _file(folder: Path, name: str) -> Response:
    response = send_from_directory(folder, name)
    response.headers["Content-Security-Policy"] = _CSP
    return response
