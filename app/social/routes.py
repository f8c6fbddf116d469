"""`/profiles/api/`: friends and blocks."""

from flask import Blueprint, Response
from flask_babel import gettext

from app.accounts.schemas import UsernameIn
from app.accounts.services import UserNotFound
from app.accounts.tokens import current_user, login_required
from app.database.keyset import PageRequest
from app.http.annotations import documents_error, documents_path, returns
from app.http.conditional import conditional
from app.http.json import json_response
from app.http.pagination import USERS_MAX, list_response, paged
from app.http.validation import takes
from app.limits.rules import limited
from app.social import blocks, friends
from app.social.blocks import BlockOfOneself
from app.social.friends import FriendOfOneself
from app.social.schemas import BlockedOut, SentenceOut

bp = Blueprint("social", __name__, url_prefix="/profiles/api")


@bp.post("/add-friend/")
@login_required
@limited("changes")
@takes(UsernameIn)
@returns(SentenceOut)
@documents_error(UserNotFound, FriendOfOneself)
def add_friend(body: UsernameIn) -> Response:
    """Put a user on the caller's list of friends.

    The list is the caller's own: nothing changes for the other. Adding twice is adding once.
    """
    name = friends.befriend(current_user.id, body.username)
    return json_response({"message": gettext("%(name)s was added to your friends.", name=name)})


@bp.post("/remove-friend/")
@login_required
@limited("changes")
@takes(UsernameIn)
@returns(SentenceOut, example={"message": "jane_doe удален из друзей."})
@documents_error(UserNotFound, FriendOfOneself)
def remove_friend(body: UsernameIn) -> Response:
    """Remove a user from the caller's list of friends.

    Without an entry nothing changes.
    """
    name = friends.unfriend(current_user.id, body.username)
    return json_response({"message": gettext("%(name)s was removed from your friends.", name=name)})


@bp.get("/blocks/")
@login_required
@returns(list[BlockedOut])
@conditional
@paged(default=USERS_MAX, maximum=USERS_MAX)
def list_blocks(window: PageRequest) -> Response:
    """List the users whom the caller has blocked, ascending by id.

    Only those of the caller. Nobody is told who has blocked them.
    """
    return list_response(blocks.OWN_BLOCKS, window, partition=current_user.id)


@bp.post("/blocks/")
@login_required
@limited("changes")
@takes(UsernameIn)
@returns(BlockedOut)
@documents_error(UserNotFound, BlockOfOneself)
def block_user(body: UsernameIn) -> Response:
    """Block a user: neither of the two can write to the other while the block exists.

    Neither sees whether the other types, is online or has read. What was said stays readable.
    """
    other = blocks.block(current_user.id, body.username)
    return json_response({"id": other.id, "username": other.username})


@bp.delete("/blocks/<username>/")
@login_required
@limited("changes")
@returns(None, 204)
@documents_path("username", "The login of a user; its case is ignored.", example="jane_doe")
@documents_error(UserNotFound)
def unblock_user(username: str) -> Response:
    """Remove the caller's block of a user. If there is no block, nothing changes.

    The other side's block stays, if there is one.
    """
    blocks.unblock(current_user.id, username)
    return Response(status=204)
