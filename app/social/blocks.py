"""Owns the blocks: a user who does not want messages from another blocks them.

A block works in both directions. While it exists, neither of the two can write in their room, and
neither sees whether the other types, is online or has read something.
"""

from collections.abc import Set as AbstractSet

from flask_babel import lazy_gettext as _
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    SQLColumnExpression,
    bindparam,
    delete,
    exists,
    literal,
    or_,
    select,
    union,
)

from app.accounts.models import User
from app.accounts.services import get_user_by_name, lock_users_shared
from app.database.keyset import KeysetQuery
from app.database.prepared import Prepared
from app.database.transactions import insert_once, writing
from app.http.errors import ApiError, BadInput
from app.services import services
from app.social.models import Block

# The users whom one user (`partition`) has blocked.
OWN_BLOCKS = KeysetQuery(
    select(Block.blocked_id.label("id"), User.username).join(User, User.id == Block.blocked_id),
    Block.blocked_id,
    partition=Block.owner_id,
)


def blocked_between(
    one_id: SQLColumnExpression[int], other_id: SQLColumnExpression[int]
) -> ColumnElement[bool]:
    """Return the condition that one of two users has blocked the other."""
    return or_(
        *(
            exists().where(Block.owner_id == owner_id, Block.blocked_id == blocked_id)
            for owner_id, blocked_id in ((one_id, other_id), (other_id, one_id))
        )
    )


_ONE, _OTHER = (bindparam(name, type_=BigInteger) for name in ("one", "other"))
_BETWEEN = Prepared(select(literal(1)).where(blocked_between(_ONE, _OTHER)))
_OF_ONE = Prepared(
    union(
        select(Block.blocked_id).where(Block.owner_id == _ONE),
        select(Block.owner_id).where(Block.blocked_id == _ONE),
    )
)


class Blocked(ApiError):
    """One of two users has blocked the other. The client is not told which."""

    status = 403
    code = "blocked"
    detail = _("You and this person cannot write to each other.")


class BlockOfOneself(BadInput):
    """Nobody can block themselves."""

    def __init__(self) -> None:
        super().__init__({"username": [_("You cannot block yourself.")]})


def is_blocked(connection: Connection, one_id: int, other_id: int) -> bool:
    """Tell whether one of two users has blocked the other."""
    return _BETWEEN.first(connection, {"one": one_id, "other": other_id}) is not None


def find_blocked(connection: Connection, user_id: int) -> AbstractSet[int]:
    """Return the ids of the users whom a user has blocked, or who have blocked the user."""
    return {row[0] for row in _OF_ONE.all(connection, {"one": user_id})}


def block(user_id: int, username: str) -> Row[int, str, str]:
    """Block a user. Blocking twice is the same as blocking once.

    Args:
        user_id: The caller.
        username: The other user's name; case is ignored.

    Returns:
        The other user: id, username, email.

    Raises:
        UserNotFound: No user has this name.
        BlockOfOneself: It is the caller's own name.
    """
    other = get_user_by_name(username)
    if other.id == user_id:
        raise BlockOfOneself
    with writing() as connection:
        lock_users_shared(connection, user_id, other.id)
        insert_once(connection, Block, owner_id=user_id, blocked_id=other.id)
    _announce(user_id, other.id)
    return other


def unblock(user_id: int, username: str) -> None:
    """Remove the caller's block of a user. If there is no block, do nothing.

    Raises:
        UserNotFound: No user has this name.
    """
    other = get_user_by_name(username)
    with writing() as connection:
        connection.execute(
            delete(Block).where(Block.owner_id == user_id, Block.blocked_id == other.id)
        )
    _announce(user_id, other.id)


def _announce(one_id: int, other_id: int) -> None:
    # After the commit, so that a worker that gets the signal sees the block. Also if nothing has
    # changed: a repeated request replaces the signal of a worker that was killed in between. A
    # room that is opened later is checked when somebody first writes to it.
    services().on_block(one_id, other_id)


def erase_blocks(connection: Connection, user_id: int) -> None:
    """Delete the blocks of a user by others and of others by the user.

    Args:
        connection: A transaction that has the user's account locked.
        user_id: The user.
    """
    connection.execute(
        delete(Block).where(or_(Block.owner_id == user_id, Block.blocked_id == user_id))
    )
