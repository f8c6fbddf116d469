"""`/accounts/api/admin/` for administrators, and `/accounts/api/setup/` to create the first one."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from flask import Blueprint, Response, request

from app.accounts import administration
from app.accounts.admin_schemas import (
    AdminUserIn,
    AdminUserOut,
    AdminUsersIn,
    InvitationIn,
    InvitationMadeOut,
    InvitationOut,
    LinkOut,
    SetupIn,
)
from app.accounts.administration import (
    InvitationNotFound,
    LastAdmin,
    NotAdmin,
    UserDeactivated,
)
from app.accounts.links import link_to, reset_link
from app.accounts.schemas import UserOut
from app.accounts.services import UserNotFound
from app.accounts.setup import create_first_administrator
from app.accounts.tokens import current_user, login_required
from app.database.keyset import PageRequest
from app.http.annotations import View, documents_error, documents_path, notes_of, returns
from app.http.conditional import conditional
from app.http.errors import Overloaded
from app.http.fields import whole_number
from app.http.json import json_response
from app.http.pagination import DEFAULT_ITEMS, ITEMS_MAX, USERS_MAX, page_response, paged
from app.http.validation import takes
from app.limits.rules import limited

bp = Blueprint("administration", __name__, url_prefix="/accounts/api")


@bp.post("/setup/")
@limited("registration")
@takes(SetupIn)
@returns(UserOut, 201)
@documents_error(Overloaded)
def set_up(body: SetupIn) -> Response:
    """Create the first administrator with the code that the server logs at its start.

    The code works once. It stops working as soon as there is an administrator.
    """
    user = create_first_administrator(body.code, body.username, body.email, body.password)
    return json_response(user, 201)


def admin_required(view: View) -> View:
    """Refuse everybody but administrators; includes `login_required`."""

    @wraps(view)
    def as_admin(*args: Any, **kwargs: Any) -> Any:
        if not current_user.is_admin:
            raise NotAdmin
        return view(*args, **kwargs)

    notes_of(as_admin).errors.append(NotAdmin)
    guarded: Callable[..., Any] = login_required(as_admin)
    return guarded  # type: ignore[return-value]


@bp.get("/admin/users/")
@admin_required
@takes(AdminUsersIn, "query")
@returns(list[AdminUserOut])
@conditional
@paged(default=USERS_MAX, maximum=USERS_MAX)
def list_all_users(window: PageRequest, query: AdminUsersIn) -> Response:
    """List all users, or those whose name or address contains `q`.

    Deactivated users are among them, erased ones are not. `last_used_at` is that of the newest
    session.
    """
    return page_response(administration.list_users(window, query.q), window)


@bp.patch("/admin/users/<user_id>/")
@admin_required
@takes(AdminUserIn)
@returns(AdminUserOut)
@documents_path("user_id", "The `id` of a user.", example=2)
@documents_error(UserNotFound, LastAdmin)
def update_user(user_id: str, body: AdminUserIn) -> Response:
    """Activate or deactivate a user, or change whether they are an administrator.

    A deactivated user is logged out everywhere at once. The last administrator stays one: 409.
    """
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    return json_response(
        administration.change_user(current_user.id, whole_number(user_id) or 0, changes)
    )


@bp.post("/admin/users/<user_id>/reset-link/")
@admin_required
@returns(LinkOut, 201)
@documents_path("user_id", "The `id` of a user.", example=2)
@documents_error(UserNotFound, UserDeactivated)
def create_reset_link(user_id: str) -> Response:
    """Create a link to a new password for a user. It works once, within an hour.

    Give it to its owner by hand, where no mail server is set. Of several links the first that is
    used ends the others.
    """
    token = administration.issue_reset(current_user.id, whole_number(user_id) or 0)
    link = reset_link(token.secret, request.host_url)
    return json_response({"link": link, "expires_at": token.expires_at}, 201)


@bp.get("/admin/invitations/")
@admin_required
@returns(list[InvitationOut])
@conditional
@paged(default=DEFAULT_ITEMS, maximum=ITEMS_MAX)
def list_invitations(window: PageRequest) -> Response:
    """List the invitations that are used or can still be used.

    Codes are shown only once, when they are made; here are their times and who used them.
    """
    return page_response(administration.list_invitations(window), window)


@bp.post("/admin/invitations/")
@admin_required
@takes(InvitationIn)
@returns(InvitationMadeOut, 201)
def create_invitation(body: InvitationIn) -> Response:
    """Invite one person. Only this response shows the link.

    The link leads to this server's page and is valid for `days`. Only its hash is stored.
    """
    lifetime = timedelta(days=body.days)
    invitation_id, token = administration.invite(current_user.id, lifetime)
    return json_response(
        {
            "id": invitation_id,
            "created_at": token.expires_at - lifetime,
            "expires_at": token.expires_at,
            "used_by": None,
            "link": link_to("invite", token.secret, request.host_url),
        },
        201,
    )


@bp.delete("/admin/invitations/<invitation_id>/")
@admin_required
@returns(None, 204)
@documents_path("invitation_id", "The `id` of an invitation.", example=1)
@documents_error(InvitationNotFound)
def delete_invitation(invitation_id: str) -> Response:
    """Delete an invitation; its link stops working.

    People who have registered with it keep their accounts.
    """
    administration.delete_invitation(current_user.id, whole_number(invitation_id) or 0)
    return Response(status=204)
