"""`/accounts/api/users/me/`: what is somebody's in all domains together."""

from apiflask import APIBlueprint
from flask import Response
from flask_jwt_extended import current_user, jwt_required

from app.personal import services
from app.personal.schemas import ErasureIn
from app.validation import JSON_OR_FORM

bp = APIBlueprint("personal", __name__, url_prefix="/accounts/api/users/me")


@bp.delete("/")
@jwt_required()
@bp.input(ErasureIn, location=JSON_OR_FORM)
@bp.output({}, 204)
def erase_self(json_or_form_data: ErasureIn) -> Response:
    """Erase the caller's account; messages stay with those they were sent to, without a name."""
    services.erase_own(current_user.id, json_or_form_data.password)
    return Response(status=204)
