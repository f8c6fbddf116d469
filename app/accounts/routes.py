"""`/accounts/api/`: users and tokens."""

from apiflask import APIBlueprint
from flask import Response, current_app, request
from flask_jwt_extended import jwt_required
from sqlalchemy import select

from app.accounts import services, tokens
from app.accounts.models import User
from app.accounts.schemas import (
    AccessOut,
    CredentialsIn,
    RefreshIn,
    RegistrationIn,
    TokensOut,
    UserOut,
)
from app.database import reading
from app.pagination import MOST_USERS, Window, read_page
from app.responses import json_response
from app.validation import JSON_OR_FORM

bp = APIBlueprint("accounts", __name__, url_prefix="/accounts/api")


@bp.get("/users/")
@jwt_required()
@bp.output(list[UserOut])
def list_users() -> Response:
    """List the users, ascending by id."""
    window = Window.of(request, default=MOST_USERS, most=MOST_USERS)
    with reading() as connection:
        page = read_page(connection, select(User.id, User.username, User.email), User.id, window)
    return json_response([row._asdict() for row in page.rows], headers=page.link(window))


@bp.post("/users/")
@bp.input(RegistrationIn, location=JSON_OR_FORM)
@bp.output(UserOut, 201)
def create_user(json_or_form_data: RegistrationIn) -> Response:
    """Create an account."""
    body = json_or_form_data
    return json_response(services.register(body.username, body.email, body.password), 201)


@bp.post("/token/")
@bp.input(CredentialsIn, location=JSON_OR_FORM)
@bp.output(TokensOut)
def create_token(json_or_form_data: CredentialsIn) -> Response:
    """Log in: get a refresh token and an access token."""
    user_id = services.authenticate(json_or_form_data.username, json_or_form_data.password)
    access = tokens.issue_access(user_id)
    return _with_cookie({"refresh": tokens.issue_refresh(user_id), "access": access}, access)


@bp.post("/token/refresh/")
@bp.input(RefreshIn, location=JSON_OR_FORM)
@bp.output(AccessOut)
def refresh_token(json_or_form_data: RefreshIn) -> Response:
    """Get a new access token for a refresh token, which stays good."""
    caller = tokens.caller_of(json_or_form_data.refresh, tokens.REFRESH)
    access = tokens.issue_access(caller.id)
    return _with_cookie({"access": access}, access)


def _with_cookie(answer: dict[str, str], access: str) -> Response:
    # `new WebSocket(url)` of a browser can send no header, but it sends cookies. This one goes
    # to the chat only, is out of reach of scripts, and counts only with a known Origin.
    response = json_response(answer)
    response.set_cookie(
        tokens.COOKIE,
        access,
        max_age=current_app.config["JWT_ACCESS_TOKEN_EXPIRES"],
        path="/messenger/ws/",
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response
