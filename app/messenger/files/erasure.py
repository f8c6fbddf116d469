"""Takes away the files of somebody whose account is erased; the texts of their messages stay."""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from app.database.sequence import Change, write_changes
from app.database.transactions import writing
from app.messenger.announcements import announce
from app.messenger.files.models import Upload
from app.messenger.files.removal import expire, remove
from app.messenger.models import Message, Room
from app.threads import give_way

MESSAGES_AT_ONCE = 100


def take_files_away(user_id: int) -> None:
    """Remove all files of a user, some messages at a time; streams show the messages without them.

    There may be too many for the one transaction of an erasure, which takes what is left.
    """
    with writing() as connection:
        waiting = expire(connection, Upload.user_id == user_id, Upload.message_id.is_(None))
    remove(waiting)
    some = (
        select(Message.id, Message.room_id)
        .join(Upload, Upload.message_id == Message.id)
        .where(Upload.user_id == user_id)
        .distinct()
        .limit(MESSAGES_AT_ONCE)
    )
    while True:
        with writing(patient=True) as connection:
            messages = connection.execute(some).all()
            rooms = select(Room.id).where(Room.id.in_({each.room_id for each in messages}))
            connection.execute(rooms.order_by(Room.id).with_for_update(key_share=True))
            files = expire(connection, Upload.message_id.in_([each.id for each in messages]))
            numbers = write_changes(connection, [_without_files(each.id) for each in messages])
        announce(numbers)
        remove(files)
        if not messages:
            return
        give_way()  # SQLite does not wait, and others want to be served in between


def _without_files(message_id: int) -> Change:
    bare = update(Message).where(Message.id == message_id)
    return lambda number: bare.values(attachments=None, changed_id=number)


def take_last_files_away(connection: Connection, user_id: int) -> Sequence[str]:
    """Let the files expire that `take_files_away` has not seen, in the transaction of an erasure.

    Returns:
        Their ids; `remove` them after it.
    """
    left = select(Upload.message_id).where(
        Upload.user_id == user_id, Upload.message_id.is_not(None)
    )
    connection.execute(update(Message).where(Message.id.in_(left)).values(attachments=None))
    return expire(connection, Upload.user_id == user_id)
