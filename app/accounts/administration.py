"""Use cases of administrators: help people with their accounts, and invite them.

Each use case checks in its own transaction that the caller is still an administrator.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import BindParameter, Connection, bindparam, delete, func, or_, select, update

from app.accounts import invitations, resets, setup
from app.accounts.credentials import revoke_access
from app.accounts.models import Invitation, Session, User
from app.accounts.one_time_tokens import OneTimeToken
from app.accounts.services import UserNotFound
from app.accounts.tokens import TokenNotValid
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.keyset import KeysetQuery, Page, PageRequest
from app.database.transactions import reading, writing
from app.http.errors import ApiError

USER_COLUMNS = (
    User.id,
    User.username,
    User.email,
    User.is_active,
    User.is_admin,
    User.created_at,
)
_USERS = select(
    *USER_COLUMNS,
    select(func.max(Session.last_used_at))
    .where(Session.user_id == User.id)
    .scalar_subquery()
    .label("last_used_at"),
).where(User.deleted_at.is_(None))
_pattern: BindParameter[str] = bindparam("pattern")
_FOUND = KeysetQuery(
    _USERS.where(
        or_(User.username_key.like(_pattern, escape="/"), User.email_key.like(_pattern, escape="/"))
    ),
    User.id,
)
_INVITATIONS = KeysetQuery(
    select(
        Invitation.id,
        Invitation.created_at,
        Invitation.expires_at,
        User.username.label("used_by"),
    )
    .join(User, User.id == Invitation.used_by, isouter=True)
    .where(or_(Invitation.used_by.is_not(None), Invitation.expires_at > bindparam("now"))),
    Invitation.id,
)


class NotAdmin(ApiError):
    """The caller is not an administrator."""

    status = 403
    code = "not_admin"
    detail = _("Only an administrator may do this.")


class LastAdmin(ApiError):
    """The change would leave no administrator."""

    status = 409
    code = "last_admin"
    detail = _("There must be at least one administrator.")


class UserDeactivated(ApiError):
    """A deactivated user cannot log in, so a new password is useless."""

    status = 409
    code = "user_deactivated"
    detail = _("This user is deactivated.")


class InvitationNotFound(ApiError):
    """There is no such invitation, or it has expired."""

    status = 404
    code = "invitation_not_found"
    detail = _("There is no such invitation.")


def list_users(asked: PageRequest, query: str) -> Page:
    """Return users as administrators see them, ascending by id.

    Args:
        asked: The part of the list.
        query: A part of the name or the address; empty: all users.
    """
    literal = folded(query).replace("/", "//").replace("%", "/%").replace("_", "/_")
    with reading() as connection:
        return _FOUND.read(connection, asked, pattern=f"%{literal}%")


def change_user(admin_id: int, user_id: int, changes: Mapping[str, bool]) -> Mapping[str, Any]:
    """Activate or deactivate a user, or change whether they are an administrator.

    Deactivating a user logs them out everywhere.

    Args:
        admin_id: The caller.
        user_id: The user, who may be the caller.
        changes: `is_active`, `is_admin` or both.

    Returns:
        The user as administrators see them.

    Raises:
        NotAdmin: The caller is no longer an administrator.
        UserNotFound: There is no such user.
        LastAdmin: No administrator who can log in would be left.
    """
    with writing() as connection:
        administrators = _lock_administrators(connection, user_id)
        if admin_id not in administrators:
            raise NotAdmin
        state = connection.execute(
            select(User.is_active, User.is_admin).where(
                User.id == user_id, User.deleted_at.is_(None)
            )
        ).one_or_none()
        if state is None:
            raise UserNotFound
        new = state._asdict() | dict(changes)
        if not all(new.values()) and administrators == {user_id}:
            raise LastAdmin
        connection.execute(update(User).where(User.id == user_id).values(new))
        if not new["is_active"]:
            revoke_access(connection, user_id)
        if new["is_admin"]:
            setup.delete_code(connection)
    return get_user(user_id)


def _lock_administrators(connection: Connection, user_id: int) -> set[int]:
    # Returns the ids of the administrators who can log in. Their rows and the user's stay locked
    # until the transaction ends: if two administrators demote each other at the same time, the
    # second one sees the change of the first.
    query = (
        select(User.id, User.is_admin, User.is_active)
        .where(or_(User.is_admin & User.is_active, User.id == user_id))
        .order_by(User.id)
        .with_for_update(key_share=True)
    )
    rows = connection.execute(query).all()
    return {row.id for row in rows if row.is_admin and row.is_active}


def get_user(user_id: int) -> Mapping[str, Any]:
    """Return a user as administrators see them.

    Raises:
        UserNotFound: There is no such user.
    """
    with reading() as connection:
        row = connection.execute(_USERS.where(User.id == user_id)).one_or_none()
    if row is None:
        raise UserNotFound
    return row._asdict()


def issue_reset(admin_id: int, user_id: int) -> OneTimeToken:
    """Return a token with which a user can choose a new password.

    Raises:
        NotAdmin: The caller is no longer an administrator.
        UserNotFound: There is no such user.
        UserDeactivated: The user is deactivated.
    """
    user = get_user(user_id)
    if not user["is_active"]:
        raise UserDeactivated
    with writing() as connection:
        if admin_id not in _lock_administrators(connection, user_id):
            raise NotAdmin
        token = resets.issue_within(connection, user_id)
    if token is None:
        raise UserDeactivated  # or erased, a moment ago
    return token


def list_invitations(asked: PageRequest) -> Page:
    """Return the invitations that are used or can still be used, ascending by id."""
    with reading() as connection:
        return _INVITATIONS.read(connection, asked, now=utcnow())


def invite(admin_id: int, lifetime: timedelta) -> tuple[int, OneTimeToken]:
    """Create an invitation; return its id and its code.

    Raises:
        NotAdmin: The caller is no longer an administrator.
    """
    with writing() as connection:
        _require_admin(connection, admin_id)
        return invitations.invite_within(connection, lifetime)


def delete_invitation(admin_id: int, invitation_id: int) -> None:
    """Delete an invitation.

    Raises:
        NotAdmin: The caller is no longer an administrator.
        InvitationNotFound: There is no invitation with this id.
    """
    with writing() as connection:
        _require_admin(connection, admin_id)
        deleted = connection.execute(delete(Invitation).where(Invitation.id == invitation_id))
    if not deleted.rowcount:
        raise InvitationNotFound


def _require_admin(connection: Connection, admin_id: int) -> None:
    # The lock keeps others from demoting the caller until the transaction ends.
    query = select(User.is_admin & User.is_active).where(User.id == admin_id)
    is_admin = connection.scalar(query.with_for_update(read=True))
    if is_admin is None:
        raise TokenNotValid
    if not is_admin:
        raise NotAdmin
