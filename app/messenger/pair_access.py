"""Lets the writers of a room of two be checked anew when one of them blocks the other."""

from sqlalchemy import update

from app.database.transactions import writing
from app.messenger.models import Room


def check_writers_anew(one_id: int, other_id: int) -> None:
    """Have every worker ask once more who may write in the room of two users, if there is one."""
    low_id, high_id = sorted((one_id, other_id))
    with writing() as connection:
        connection.execute(
            update(Room)
            .where(Room.low_user_id == low_id, Room.high_user_id == high_id)
            .values(access_version=Room.access_version + 1)
        )
