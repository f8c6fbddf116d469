"""Use cases: add to one's own list of friends, and remove from it."""

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, delete, or_

from app.accounts.services import get_user_by_name, lock_users_shared
from app.database.transactions import insert_once, writing
from app.http.errors import BadInput
from app.social.models import Friendship


class FriendOfOneself(BadInput):
    """Users cannot be on their own list of friends."""

    def __init__(self) -> None:
        super().__init__({"username": [_("You cannot be a friend of yourself.")]})


def befriend(user_id: int, username: str) -> str:
    """Put a user on the caller's list of friends.

    The list is the caller's own: nothing changes on the other side, and adding twice is the same
    as adding once.

    Args:
        user_id: The caller.
        username: The friend's name; case is ignored.

    Returns:
        The friend's name as it is stored.

    Raises:
        UserNotFound: No user has this name.
        FriendOfOneself: It is the caller's own name.
    """
    friend = _get_other(user_id, username)
    with writing() as connection:
        lock_users_shared(connection, user_id, friend.id)
        insert_once(connection, Friendship, owner_id=user_id, friend_id=friend.id)
    return str(friend.username)


def unfriend(user_id: int, username: str) -> str:
    """Remove a user from the caller's list of friends. If they are not on it, do nothing.

    Returns:
        The former friend's name as it is stored.

    Raises:
        UserNotFound: No user has this name.
        FriendOfOneself: It is the caller's own name.
    """
    friend = _get_other(user_id, username)
    with writing() as connection:
        connection.execute(
            delete(Friendship).where(
                Friendship.owner_id == user_id, Friendship.friend_id == friend.id
            )
        )
    return str(friend.username)


def _get_other(user_id: int, username: str) -> Row[int, str, str]:
    other = get_user_by_name(username)
    if other.id == user_id:
        raise FriendOfOneself
    return other


def erase_friendships(connection: Connection, user_id: int) -> None:
    """Delete a user's list of friends, and remove the user from all other lists.

    Args:
        connection: A transaction that has the user's account locked.
        user_id: The user.
    """
    connection.execute(
        delete(Friendship).where(
            or_(Friendship.owner_id == user_id, Friendship.friend_id == user_id)
        )
    )
