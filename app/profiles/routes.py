"""`/profiles/api/`: profiles, posts, search."""

from typing import Any

from flask import Blueprint, Response, request

from app.accounts.schemas import UsernameIn
from app.accounts.services import UserNotFound, get_user_by_name
from app.accounts.tokens import current_user, login_required
from app.database.keyset import PageRequest
from app.http.annotations import documents_error, documents_path, documents_response, returns
from app.http.conditional import conditional
from app.http.errors import Overloaded
from app.http.fields import whole_number
from app.http.json import json_response
from app.http.pagination import DEFAULT_ITEMS, ITEMS_MAX, list_response, paged
from app.http.validation import RetryIn, takes
from app.limits.rules import consume_text, limited
from app.media.avatar_uploads import UPLOAD_BYTES, StorageUnavailable
from app.profiles import services
from app.profiles.people import find_people
from app.profiles.schemas import (
    JANE,
    NEW_POST,
    PeopleIn,
    PersonOut,
    PostChangeIn,
    PostIn,
    PostOut,
    ProfileIn,
    ProfileOut,
)
from app.profiles.services import NotYourPost, PostNotFound
from app.services import services as app_services

bp = Blueprint("profiles", __name__, url_prefix="/profiles/api")

_POST_ID: dict[str, Any] = {"name": "post_id", "sentence": "The id of a post.", "example": 3}


@bp.get("/profile/")
@login_required
@returns(ProfileOut)
@conditional
def show_profile() -> Response:
    """Show the caller's own profile with their newest posts.

    With the ids of friends and up to 100 posts, oldest first.
    """
    return json_response(services.profile_of(current_user))


@bp.patch("/profile/")
@login_required
@limited("changes")
@limited("uploads", unless=lambda: request.mimetype != "multipart/form-data")
@takes(ProfileIn, max_bytes=UPLOAD_BYTES)
@returns(ProfileOut)
@documents_error(StorageUnavailable, Overloaded)
def update_profile(body: ProfileIn) -> Response:
    """Change the caller's bio, picture, or both.

    A picture is sent as a form (multipart), is cut square and loses its metadata, where it was
    taken above all.
    """
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    if changes.get("image") is not None:
        changes["image"] = changes["image"].read()
    services.change_profile(current_user.id, changes)
    return json_response(services.profile_of(current_user))


@bp.get("/people/")
@login_required
@limited("people")
@takes(PeopleIn, "query")
@returns(list[PersonOut])
@conditional
def list_people(query: PeopleIn) -> Response:
    """Find people by id, by the beginning of the name, or by a similar name, best match first.

    Names and pictures, no addresses. Without `q` and `ids` everybody, ascending by id.
    """
    people = find_people(query.q, query.ids, query.limit)
    visible = app_services().presence.visible_names(current_user.id)
    return json_response(
        [person | {"online": True} if person["id"] in visible else person for person in people]
    )


@bp.get("/search-user/")
@login_required
@limited("search")
@takes(UsernameIn, "query")
@returns(ProfileOut, example=JANE)
@conditional
@documents_error(UserNotFound)
def search_user(query: UsernameIn) -> Response:
    """Show the profile of the user with this name; case is ignored.

    The whole name has to be given; `people/` finds by its beginning.
    """
    return json_response(services.profile_of(get_user_by_name(query.username)))


@bp.get("/posts/")
@login_required
@returns(list[PostOut])
@conditional
@paged(default=DEFAULT_ITEMS, maximum=ITEMS_MAX)
def list_posts(window: PageRequest) -> Response:
    """List everybody's posts.

    Without a cursor the newest ones, oldest first.
    """
    return list_response(
        services.ALL_POSTS, window, item=lambda row: services.post_out(row, row.author)
    )


@bp.post("/posts/")
@login_required
@limited("posts")
@takes(PostIn)
@takes(RetryIn, "headers")
@returns(PostOut, 201, example=NEW_POST)
@documents_response(200, "The post exists already, with the same `client_id`.")
def create_post(body: PostIn, headers: RetryIn) -> Response:
    """Publish a post.

    Everybody sees it. With a `client_id` a repeated request publishes nothing twice.
    """
    consume_text(current_user.id, body.content)
    client_id = body.client_id or headers.key
    post, is_new = services.write_post(
        current_user.id, current_user.username, body.title, body.content, client_id
    )
    return json_response(post, 201 if is_new else 200)


@bp.patch("/posts/<post_id>/")
@login_required
@limited("changes")
@takes(PostChangeIn)
@returns(PostOut, example=NEW_POST)
@documents_path(**_POST_ID)
@documents_error(PostNotFound, NotYourPost)
def edit_post(post_id: str, body: PostChangeIn) -> Response:
    """Change the title, the content or both of one of the caller's posts.

    Its author may, at any time.
    """
    consume_text(current_user.id, body.content)
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    return json_response(services.edit_post(current_user.id, whole_number(post_id) or 0, changes))


@bp.delete("/posts/<post_id>/")
@login_required
@limited("changes")
@returns(None, 204)
@documents_path(**_POST_ID)
@documents_error(PostNotFound, NotYourPost)
def delete_post(post_id: str) -> Response:
    """Delete one of the caller's posts.

    Its author may, at any time. The second time changes nothing.
    """
    number = whole_number(post_id)
    if number is None:
        raise PostNotFound
    services.delete_post(current_user.id, number)
    return Response(status=204)
