"""`/`: the page, its files, and a small answer for programs.

The page uses the public API only; this module knows no table.
"""

from flask import Blueprint, Response, abort, current_app, request

from app.http.annotations import returns, undocumented
from app.http.json import json_response
from app.services import services
from app.web.assets import Asset, Assets
from app.web.schemas import ServiceOut

service = Blueprint("service", __name__)
bp = Blueprint("web", __name__)

_YEAR = 365 * 24 * 3600  # seconds; what lies under a hash never changes
# The first segments of the page's own addresses; it finds out itself what they mean.
_PLACES = (
    *("chat", "posts", "people", "settings", "team"),
    *("login", "register", "forgotten", "invite", "reset", "setup"),
)


@service.get("/")
@returns(ServiceOut)
def show_service() -> Response:
    """Name this service to programs; browsers get the page.

    For monitoring and for whoever opens the address: what runs here, and where its API is
    described.
    """
    if "web" in current_app.blueprints and "text/html" in request.headers.get("Accept", ""):
        return _page()
    response = json_response(
        {
            "name": "Beseda",
            "openapi": "/api/openapi.json",
            "docs": "/api/docs/",
            "registration": services().config.REGISTRATION,
            "password_reset_by_mail": services().mailer is not None,
            "edit_seconds": services().config.EDIT_SECONDS,
            "upload_bytes": services().config.UPLOAD_BYTES,
        }
    )
    response.vary.add("Accept")
    return response


def _assets() -> Assets:
    made = current_app.extensions
    if "web" not in made or current_app.debug:  # under `flask run --debug` a change shows at once
        made["web"] = Assets()
    assets: Assets = made["web"]
    return assets


def _page() -> Response:
    response = _send(_assets().page, "no-cache")
    response.headers["Content-Security-Policy"] = _assets().policy
    response.vary.add("Accept")
    return response


def _send(asset: Asset, cache_control: str) -> Response:
    body, compressed = asset.content, asset.compressed
    is_compressed = compressed is not None and request.accept_encodings["gzip"] > 0
    response = Response(compressed if is_compressed else body, content_type=asset.type)
    if is_compressed:
        response.content_encoding = "gzip"
    if compressed is not None:
        response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = cache_control
    response.add_etag()
    response.make_conditional(request)
    return response


@undocumented("an address of the page")
def _show_place(**_: str) -> Response:
    """Show the page at one of its own addresses, whatever stands behind its first segment."""
    return _page()


for _place in _PLACES:
    for _rule in (f"/{_place}", f"/{_place}/<path:rest>"):
        bp.add_url_rule(_rule, f"show_{_place}", _show_place, methods=["GET"])


@bp.get("/static/<version>/<path:name>")
@undocumented("a part of the page")
def show_file(version: str, name: str) -> Response:
    """Serve a file of the page."""
    assets = _assets()
    asset = assets.files.get(name)
    if asset is None or version != assets.hash:
        abort(404)
    return _send(asset, f"public, max-age={_YEAR}, immutable")


@bp.get("/sw.js")
@undocumented("a part of the page")
def show_worker() -> Response:
    """Serve the service worker, which lets the page open without a network."""
    response = _send(_assets().worker, "no-cache")
    # The policy of a worker is that of its own answer: it fetches from here and nowhere else.
    response.headers["Content-Security-Policy"] = "default-src 'none'; connect-src 'self'"
    return response


@bp.get("/manifest.webmanifest")
@undocumented("a part of the page")
def show_manifest() -> Response:
    """Serve what an installed page is called and looks like."""
    return _send(_assets().manifest, "no-cache")
