"""`/accounts/api/users/me/`: erase or export all data of an account."""

from flask import Blueprint, Response, request

from app.accounts.credentials import WrongPassword
from app.accounts.tokens import current_user, login_required
from app.accounts.usernames import folded
from app.database.transactions import current_engine
from app.http.annotations import documents_error, documents_header, returns
from app.http.errors import Overloaded
from app.http.validation import takes
from app.limits.password_guesses import limit_password_guesses
from app.limits.rules import limited
from app.limits.status import RateLimitStatus, Throttled, may_throttle
from app.media.store import PicturesUnavailable
from app.privacy import erasure
from app.privacy.export import export
from app.privacy.schemas import ErasureIn, ExportOut
from app.services import services

bp = Blueprint("personal", __name__, url_prefix="/accounts/api/users/me")

_exporting: set[int] = set()  # users whose export this worker is sending

STALLED_SECONDS = 30  # a client may take to read one piece of an export


@bp.delete("/")
@login_required
@limited("passwords")
@takes(ErasureIn)
@returns(None, 204)
@may_throttle
@documents_error(WrongPassword("password"), Overloaded)
def erase_self(body: ErasureIn) -> Response:
    """Erase the caller's account. Its messages stay in their rooms, without a name.

    It takes the password and cannot be undone. Name and address are free again.
    """
    with limit_password_guesses(folded(current_user.username), wrong=WrongPassword):
        erasure.erase_own(current_user.id, body.password)
    return Response(status=204)


@bp.get("/export/")
@login_required
@returns(ExportOut)
@documents_header("Content-Disposition", "A name for the file.")
@documents_error(PicturesUnavailable)
@may_throttle
def export_self() -> Response:
    """Export all data of the caller as one JSON document.

    Account, settings, profile with the picture, sessions, posts, friends, blocks, rooms,
    places and messages.
    """
    user_id = current_user.id
    if user_id in _exporting:
        raise Throttled(RateLimitStatus(amount=1, remaining=0, seconds=STALLED_SECONDS))
    pieces = export(current_engine(), services().media, user_id)
    response = Response(pieces, mimetype="application/json")
    _exporting.add(user_id)
    response.call_on_close(lambda: _exporting.discard(user_id))
    response.headers["Content-Disposition"] = (
        f'attachment; filename="beseda-{current_user.id}.json"'
    )
    if socket := request.environ.get("gunicorn.socket"):
        # The time-out covers writes too: a client that stops reading is disconnected.
        socket.settimeout(STALLED_SECONDS)
        response.call_on_close(lambda: socket.settimeout(None))
    return response
