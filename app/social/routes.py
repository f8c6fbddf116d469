"""`/profiles/api/`: friends."""

from flask import Blueprint, Response
from flask_babel import gettext

from app.accounts.schemas import UsernameIn
from app.accounts.services import UserNotFound
from app.accounts.tokens import current_user, login_required
from app.http.annotations import documents_error, returns
from app.http.json import json_response
from app.http.validation import takes
from app.social import friends
from app.social.friends import FriendOfOneself
from app.social.schemas import SentenceOut

bp = Blueprint("social", __name__, url_prefix="/profiles/api")


@bp.post("/add-friend/")
@login_required
@takes(UsernameIn)
@returns(SentenceOut)
@documents_error(UserNotFound, FriendOfOneself)
def add_friend(body: UsernameIn) -> Response:
    """Put a user on the caller's list of friends."""
    name = friends.befriend(current_user.id, body.username)
    return json_response({"message": gettext("%(name)s was added to your friends.", name=name)})


@bp.post("/remove-friend/")
@login_required
@takes(UsernameIn)
@returns(SentenceOut, example={"message": "jane_doe удален из друзей."})
@documents_error(UserNotFound, FriendOfOneself)
def remove_friend(body: UsernameIn) -> Response:
    """Take a user off the caller's list of friends."""
    name = friends.unfriend(current_user.id, body.username)
    return json_response({"message": gettext("%(name)s was removed from your friends.", name=name)})
