"""Use cases of what is somebody's in all domains together: erase it.

An erasure is one transaction, and a remainder that no transaction can hold: the picture,
which is a file, and what SQLite keeps of deleted rows. Until that is done an emptied row in
`profiles` says that it is to be done, so whoever comes next can: the next erasure, or a
worker that starts.
"""

import logging
import sqlite3

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.accounts import sessions
from app.accounts.credentials import confirm_password
from app.accounts.erasure import erase_account, lock_user
from app.database.transactions import current_engine, writing
from app.database.vacuum import purge_deleted_pages
from app.http.errors import Overloaded
from app.messenger.announcements import announce
from app.messenger.group_members import leave_rooms
from app.messenger.messages import forget_client_ids, forget_last_client_ids
from app.messenger.rooms import has_other_rooms, lock_rooms, rename_rooms
from app.messenger.search.index import forget_traces
from app.profiles.services import (
    delete_posts,
    erase_profile,
    find_erased,
    forget_profiles,
    remove_pictures,
)
from app.social.blocks import erase_blocks
from app.social.friends import erase_friendships

log = logging.getLogger(__name__)

ATTEMPTS = 5  # at a transaction that others may get in the way of


def erase_own(user_id: int, password: str) -> None:
    """Erase a user's account on their own word.

    Args:
        user_id: Whose.
        password: What they say their password is.

    Raises:
        BadInput: It is not.
        TokenNotValid: The account was erased meanwhile.
    """
    _erase(user_id, confirm_password(user_id, password))


def erase(user_id: int) -> None:
    """Erase a user's account on an operator's word.

    Raises:
        TokenNotValid: It was erased meanwhile.
    """
    _erase(user_id, None)


def _erase(user_id: int, password_hash: str | None) -> None:
    # What may be too much for one transaction goes first. Where that is interrupted the account
    # is still there, and its owner can ask again.
    forget_client_ids(user_id)
    delete_posts(user_id)
    for is_last in (False,) * (ATTEMPTS - 1) + (True,):
        try:
            if _is_erased(user_id, password_hash):
                break
        except IntegrityError:  # another erasure has just taken the name of a room
            if is_last:
                raise
    else:
        raise Overloaded  # somebody keeps opening rooms with this user
    log.info("account erased", extra={"user_id": user_id})
    finish()


def _is_erased(user_id: int, password_hash: str | None) -> bool:
    with writing(patient=True) as connection:
        room_ids = lock_rooms(connection, user_id)
        lock_user(connection, user_id, password_hash)
        if has_other_rooms(connection, user_id, room_ids):
            return False  # one was opened in between: it has to be locked before the account
        username = erase_account(connection, user_id)
        erase_profile(connection, user_id)
        erase_friendships(connection, user_id)
        erase_blocks(connection, user_id)
        forget_last_client_ids(connection, user_id)
        rename_rooms(connection, user_id, username)
        numbers = leave_rooms(connection, user_id)
    announce(numbers)
    return True


def finish() -> None:
    """Do what is left to do of erasures, if it can be done now."""
    try:
        with writing() as connection:
            sessions.delete_expired_of_erased(connection)
        left = find_erased()
        if left:
            remove_pictures(row.image for row in left)
            forget_traces(current_engine())
            if purge_deleted_pages():
                forget_profiles([row.user_id for row in left])
    except (OSError, SQLAlchemyError, sqlite3.Error) as error:
        # The account is erased all the same, and what is left shows nowhere.
        log.warning("an erasure is to be finished later: %s", type(error).__name__)
