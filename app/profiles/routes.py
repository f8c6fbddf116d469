"""`/profiles/api/`: profiles, posts, search."""

from apiflask import APIBlueprint
from flask import Response, request
from flask_jwt_extended import current_user, jwt_required

from app.accounts.schemas import UsernameIn
from app.accounts.services import UserNotFound, get_user_by_name
from app.database.transactions import reading
from app.http.conditional import conditional
from app.http.errors import Overloaded
from app.http.json import json_response
from app.http.pagination import DEFAULT_ITEMS, MOST_ITEMS, PageRequest, paged
from app.http.validation import FORM_AND_FILES, HEADERS, JSON_OR_FORM, QUERY, RetryIn
from app.limits.rules import limited
from app.openapi import answers, raises
from app.profiles import services
from app.profiles.schemas import (
    JANE,
    NEW_POST,
    PostIn,
    PostOut,
    ProfileIn,
    ProfileOut,
)
from app.profiles.services import StorageUnavailable

bp = APIBlueprint("profiles", __name__, url_prefix="/profiles/api")

UPLOAD_BYTES = 6 * 1024 * 1024  # a picture of 5 MB, and the form around it


@bp.before_request
def _admit_pictures() -> None:
    if request.endpoint == "profiles.update_profile" and request.mimetype == "multipart/form-data":
        request.max_content_length = UPLOAD_BYTES


@bp.get("/profile/")
@jwt_required()
@bp.output(ProfileOut)
@conditional
def show_profile() -> Response:
    """Show the caller's own profile with their newest posts."""
    return json_response(services.profile_of(current_user))


@bp.patch("/profile/")
@jwt_required()
@limited("uploads", exempt_when=lambda: request.mimetype != "multipart/form-data")
@bp.input(ProfileIn, location=FORM_AND_FILES)
@bp.output(ProfileOut)
@raises(StorageUnavailable, Overloaded)
def update_profile(form_and_files_data: ProfileIn) -> Response:
    """Change the caller's bio, picture, or both."""
    body = form_and_files_data
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    if changes.get("image") is not None:
        changes["image"] = changes["image"].read()
    services.change_profile(current_user.id, changes)
    return json_response(services.profile_of(current_user))


@bp.get("/posts/")
@jwt_required()
@bp.output(list[PostOut])
@conditional
@paged(default=DEFAULT_ITEMS, most=MOST_ITEMS)
def list_posts(window: PageRequest) -> Response:
    """List everybody's posts."""
    with reading() as connection:
        page = services.ALL_POSTS.read(connection, window)
    return json_response(
        [services.post_out(row, row.author) for row in page.rows], headers=page.link(window)
    )


@bp.post("/posts/")
@jwt_required()
@limited("posts")
@bp.input(PostIn, location=JSON_OR_FORM)
@bp.input(RetryIn, location=HEADERS)
@bp.output(PostOut, 201, example=NEW_POST)
@answers(200, "It is published already, under the same `client_id`.")
def create_post(json_or_form_data: PostIn, headers_data: RetryIn) -> Response:
    """Publish a post."""
    body = json_or_form_data
    client_id = body.client_id or headers_data.key
    post, is_new = services.write_post(
        current_user.id, current_user.username, body.title, body.content, client_id
    )
    return json_response(post, 201 if is_new else 200)


@bp.get("/search-user/")
@jwt_required()
@limited("search")
@bp.input(UsernameIn, location=QUERY)
@bp.output(ProfileOut, example=JANE)
@conditional
@raises(UserNotFound)
def search_user(query_data: UsernameIn) -> Response:
    """Show the profile of the user with exactly this login, in whatever case."""
    return json_response(services.profile_of(get_user_by_name(query_data.username)))
