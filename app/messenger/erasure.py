"""What an erasure does to traces in rooms. `privacy/erasure.py` joins it with the other domains."""

from sqlalchemy import Connection, select, update

from app.database.keyset import AnySelect
from app.database.transactions import writing
from app.messenger.models import Message, Room, RoomMember
from app.messenger.rooms import ids_of_rooms
from app.threads import give_way

FORGOTTEN_AT_ONCE = 1000  # client_ids; nobody else stores anything on SQLite meanwhile


def forget_client_ids(user_id: int) -> None:
    """Take from a user's messages what their client has called them.

    There may be tens of thousands, too many for the one transaction of an erasure. It shows
    nowhere, so it may well be done before.
    """
    some = _with_client_id(user_id).order_by(Message.id).limit(FORGOTTEN_AT_ONCE).with_for_update()
    while True:
        with writing() as connection:
            ids = connection.scalars(some).all()
            connection.execute(update(Message).where(Message.id.in_(ids)).values(client_id=None))
        if len(ids) < FORGOTTEN_AT_ONCE:
            return
        give_way()  # SQLite does not wait, and others want to be served in between


def forget_last_client_ids(connection: Connection, user_id: int) -> None:
    """Take from a user's messages those that `forget_client_ids` has not seen, in a transaction.

    And from the groups that the user has made, with who has made them.
    """
    left_over = update(Message).where(Message.id.in_(_with_client_id(user_id)))
    connection.execute(left_over.values(client_id=None))
    made = update(Room).where(Room.id.in_(ids_of_rooms(user_id)), Room.creator_id == user_id)
    connection.execute(made.values(creator_id=None, client_id=None))


def erase_marks(connection: Connection, user_id: int) -> None:
    """Forget how far a user has read, and which rooms they have muted.

    A mark that waits to be stored is refused once this is committed.

    Args:
        connection: A transaction that has the user's rooms and account locked.
        user_id: The user.
    """
    own = select(RoomMember.room_id).where(RoomMember.user_id == user_id)
    # In the order in which marks are stored.
    connection.execute(own.order_by(RoomMember.room_id).with_for_update(key_share=True))
    places = update(RoomMember).where(RoomMember.user_id == user_id)
    connection.execute(places.values(muted=False, read_id=0, read_changed_id=0))


def _with_client_id(user_id: int) -> AnySelect:
    # By room, as the index has it; there is none on the user alone.
    return select(Message.id).where(
        Message.room_id.in_(ids_of_rooms(user_id)),
        Message.user_id == user_id,
        Message.client_id.is_not(None),
    )
