"""Use case: erase an account in all domains.

An erasure is one transaction and two steps after its commit: remove the picture, which is a file,
and the rest of deleted rows in SQLite's files. Until they are done an empty row in `profiles` marks
them as open; the next erasure, or the next worker that starts, does them.
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
from app.messenger.erasure import erase_marks, forget_client_ids, forget_last_client_ids
from app.messenger.files.erasure import take_files_away, take_last_files_away
from app.messenger.files.removal import remove
from app.messenger.group_members import leave_rooms
from app.messenger.rooms import has_other_rooms, lock_rooms, rename_rooms
from app.messenger.search.index import forget_traces
from app.notifications.subscriptions import erase_subscriptions
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

ATTEMPTS = 5  # at a transaction that can conflict with others


def erase_own(user_id: int, password: str) -> None:
    """Erase a user's account at their own request.

    Args:
        user_id: The user.
        password: The user's password, as they typed it.

    Raises:
        BadInput: The password is wrong.
        TokenNotValid: The account is erased already.
    """
    _erase(user_id, confirm_password(user_id, password))


def erase(user_id: int) -> None:
    """Erase a user's account at an operator's request.

    Raises:
        TokenNotValid: The account is erased already.
    """
    _erase(user_id, None)


def _erase(user_id: int, password_hash: str | None) -> None:
    # First what may be too much for one transaction. If that is interrupted, the account still
    # exists, and its owner can ask again.
    forget_client_ids(user_id)
    delete_posts(user_id)
    take_files_away(user_id)
    for is_last in (False,) * (ATTEMPTS - 1) + (True,):
        try:
            if _is_erased(user_id, password_hash):
                break
        except IntegrityError:  # another erasure has just taken the name of a room
            if is_last:
                raise
    else:
        raise Overloaded  # other users keep opening rooms with this user
    log.info("account erased", extra={"user_id": user_id})
    finish()


def _is_erased(user_id: int, password_hash: str | None) -> bool:
    with writing(patient=True) as connection:
        room_ids = lock_rooms(connection, user_id)
        old_name = lock_user(connection, user_id, password_hash)
        if has_other_rooms(connection, user_id, room_ids):
            return False  # a room was opened meanwhile; rooms are locked before users
        username = erase_account(connection, user_id)
        erase_profile(connection, user_id)
        erase_friendships(connection, user_id)
        erase_blocks(connection, user_id)
        erase_subscriptions(connection, user_id)
        forget_last_client_ids(connection, user_id)
        erase_marks(connection, user_id)
        files = take_last_files_away(connection, user_id)
        old_room_names = rename_rooms(connection, user_id, username)
        numbers, old_names = leave_rooms(connection, user_id, old_name, old_room_names)
    announce(numbers, old_names)
    remove(files)
    return True


def finish() -> None:
    """Do the open steps of earlier erasures, as far as possible now."""
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
        # The account is erased all the same, and nobody can see what is left.
        log.warning("an erasure will be finished later: %s", type(error).__name__)
