"""`/profiles/api/`: friends."""

from apiflask import APIBlueprint
from flask import Response
from flask_babel import gettext
from flask_jwt_extended import current_user, jwt_required

from app.accounts.schemas import UsernameIn
from app.accounts.services import UserNotFound
from app.http.json import json_response
from app.http.validation import JSON_OR_FORM
from app.openapi import raises
from app.social import friends
from app.social.friends import FriendOfOneself
from app.social.schemas import SentenceOut

bp = APIBlueprint("social", __name__, url_prefix="/profiles/api")


@bp.post("/add-friend/")
@jwt_required()
@bp.input(UsernameIn, location=JSON_OR_FORM)
@bp.output(SentenceOut)
@raises(UserNotFound, FriendOfOneself)
def add_friend(json_or_form_data: UsernameIn) -> Response:
    """Put a user on the caller's list of friends."""
    name = friends.befriend(current_user.id, json_or_form_data.username)
    return json_response({"message": gettext("%(name)s was added to your friends.", name=name)})


@bp.post("/remove-friend/")
@jwt_required()
@bp.input(UsernameIn, location=JSON_OR_FORM)
@bp.output(SentenceOut, example={"message": "jane_doe удален из друзей."})
@raises(UserNotFound, FriendOfOneself)
def remove_friend(json_or_form_data: UsernameIn) -> Response:
    """Take a user off the caller's list of friends."""
    name = friends.unfriend(current_user.id, json_or_form_data.username)
    return json_response({"message": gettext("%(name)s was removed from your friends.", name=name)})
