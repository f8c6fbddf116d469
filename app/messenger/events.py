"""Reads from the tables what streams have to tell. There is no table of events.

A changed row has the event id of its newest change, so what is newer than a number is found in
a few indexes. A change that was overtaken by another one of the same row is not told any more.

Each page covers a range of event ids, so that a question about long ago ends soon whatever
has happened since. A page may be empty, and still not be the last one.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence, Set

from sqlalchemy import Connection, Engine, delete, select, text

from app.database.prepared import AnyRow, EnoughContent, Prepared
from app.database.transactions import insert_once, writing
from app.messenger import chats
from app.messenger.chats import BLOCKED
from app.messenger.event_frames import MessageFrames, event_of, frame_for, is_shown, message_frame
from app.messenger.event_queries import EVENTS_OF_ALL, EVENTS_OF_ONE, PAGE_MAX, RANGE
from app.messenger.history import reading_history
from app.messenger.models import Installation, RoomMember
from app.realtime import EventPage, FramePage, Publication

PAGE_BYTES = 256 * 1024  # of the messages of a page: 200 of 40 kB would hold the loop for 50 ms


def begin_epoch(engine: Engine) -> None:
    """Begin another life of the database, after it has gone back in time."""
    with writing(engine) as connection:
        connection.execute(delete(Installation))
        insert_once(connection, Installation, id=1, epoch=secrets.token_hex(8))


_EPOCH = Prepared(select(Installation.epoch))


class MessengerEvents:
    """The events in the tables; fits `realtime.EventSource`.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._frames = MessageFrames()

    def newest_event_id(self) -> int:
        """Return the greatest event id that can be seen."""
        with reading_history(self._engine) as connection:
            return chats.newest_event_id(connection)

    def epoch(self) -> str:
        """Return which life of the database it is: a restore begins another one."""
        with reading_history(self._engine) as connection:
            row = _EPOCH.first(connection, {})
        epoch: str
        if row is not None:
            epoch = row.epoch
        else:
            with writing(self._engine) as connection:
                insert_once(connection, Installation, id=1, epoch=secrets.token_hex(8))
                epoch = connection.scalars(select(Installation.epoch)).one()
        return epoch

    def message_frame(self, publication: Publication) -> bytes | None:
        """Return the frame of a new message; None if it has to be read."""
        if publication.room_name is None or publication.payload is None:
            return None
        return message_frame(publication.id, publication.room_name, publication.payload)

    def members(self, room_id: int) -> Mapping[int, tuple[int, int | None]]:
        """Return `joined_id` and `left_id` of everybody who is or was a member of a room."""
        query = select(RoomMember.user_id, RoomMember.joined_id, RoomMember.left_id)
        with reading_history(self._engine) as connection:
            rows = connection.execute(query.where(RoomMember.room_id == room_id)).all()
        return {user_id: (joined_id, left_id) for user_id, joined_id, left_id in rows}

    def events_after(self, user_id: int, after: int, limit: int) -> FramePage:
        """Return what one person is told after an event id, the oldest of it."""
        limit = min(limit, PAGE_MAX)
        bounds = {"after": after, "most": limit, "user_id": user_id}
        with reading_history(self._engine) as connection:
            rows, is_cut = _few(connection, bounds)
            events = [row for row in rows if row.number is not None]
            described = chats.find_chats(
                connection,
                [
                    (row.number, row.room_id, user_id)
                    for row in events
                    if row.kind in ("joined", "room") or _is_member(row)
                ],
            )
        frames = []
        for row in events:
            is_message = row.kind == "message"
            frame = self._frames.of(row) if is_message else frame_for(user_id, row, described)
            if frame is not None:
                frames.append((row.number, frame))
        return FramePage(frames, *_reached(rows, after, len(rows) if is_cut else limit))

    def events_between(
        self,
        after: int,
        limit: int,
        user_ids: Collection[int],
        old_names: Mapping[int, str] | None = None,
    ) -> EventPage:
        """Return all events after an event id, the oldest of them, for those who are here."""
        here = frozenset(user_ids)
        limit = min(limit, PAGE_MAX)
        bounds = {"after": after, "most": limit}
        with reading_history(self._engine) as connection:
            rows = EVENTS_OF_ALL[connection.dialect.name].all(connection, bounds)
            events = [row for row in rows if row.number is not None]
            told = {row.number: _told_of(connection, row, here) for row in events}
            described = chats.find_chats(
                connection,
                [
                    (row.number, row.room_id, user_id)
                    for row in events
                    if row.kind in ("joined", "room") or _is_member(row)
                    for user_id in told[row.number]
                ],
            )
        return EventPage(
            [
                event_of(row, told[row.number], described, (old_names or {}).get(row.number))
                for row in events
            ],
            *_reached(rows, after, limit),
        )


def _few(connection: Connection, bounds: Mapping[str, int]) -> tuple[Sequence[AnyRow], bool]:
    # Tells whether there are more. Fewer than were asked for, if messages are long.
    query = EVENTS_OF_ONE[connection.dialect.name]
    rows = query.until(connection, bounds, EnoughContent(PAGE_BYTES))
    enough = EnoughContent(PAGE_BYTES)
    count = next((number for number, row in enumerate(rows, 1) if enough(row)), len(rows))
    return rows[:count], enough.is_reached


def _is_member(row: AnyRow) -> bool:
    return bool(row.kind == "place" and row.left_id is None)


def _reached(rows: Sequence[AnyRow], after: int, limit: int) -> tuple[int, bool]:
    newest: int = rows[0].newest
    up_to = rows[-1].number if len(rows) == limit and rows[-1].number else after + RANGE
    if up_to >= newest:
        return max(newest, after), True
    return up_to, False


# Who is told


def _told_of(connection: Connection, row: AnyRow, here: Set[int]) -> Set[int]:
    # The people here who get a frame of their own.
    if row.kind == "room":
        return here & _members_at(connection, row)
    if row.kind == "user":
        return here & _acquainted(connection, row.user_id)
    if row.kind == "read":
        # Their own devices are told what is unread, and those are told nothing who may not know.
        hidden = _hidden_from(connection, row) if is_shown(row) else frozenset()
        return here & (hidden | {row.user_id})
    if row.kind in ("joined", "place"):
        return here & {row.user_id}
    if row.kind == "changed":
        return here & _kept_from(connection, row)
    return frozenset()


def _members_at(connection: Connection, row: AnyRow) -> Set[int]:
    query = select(RoomMember.user_id).where(
        RoomMember.room_id == row.room_id,
        RoomMember.left_id.is_(None),
        RoomMember.joined_id < row.number,
    )
    return set(connection.scalars(query))


def _kept_from(connection: Connection, row: AnyRow) -> Set[int]:
    # Members to whom a message is hidden that was said before they came.
    query = select(RoomMember.user_id).where(
        RoomMember.room_id == row.room_id, RoomMember.visible_from >= row.message_id
    )
    return set(connection.scalars(query))


_HIDDEN = Prepared(
    text(f"""
    SELECT member.user_id FROM memberships AS member
    JOIN users AS viewer ON viewer.id = member.user_id
    JOIN users AS other ON other.id = CAST(:user_id AS bigint)
    WHERE member.room_id = CAST(:room_id AS bigint)
        AND (NOT viewer.show_read OR {BLOCKED})
""")
)


def _hidden_from(connection: Connection, row: AnyRow) -> Set[int]:
    rows = _HIDDEN.all(connection, {"user_id": row.user_id, "room_id": row.room_id})
    return {user_id for (user_id,) in rows}


_ACQUAINTED = Prepared(
    text("""
    SELECT DISTINCT other.user_id FROM memberships AS own
    JOIN memberships AS other ON other.room_id = own.room_id AND other.left_id IS NULL
    JOIN users AS person ON person.id = own.user_id
    WHERE person.id = CAST(:user_id AS bigint)
        AND (own.left_id IS NULL OR person.deleted_at IS NOT NULL)
""")
)


def _acquainted(connection: Connection, user_id: int) -> Set[int]:
    rows = _ACQUAINTED.all(connection, {"user_id": user_id})
    return {user_id, *(other_id for (other_id,) in rows)}
