"""Who types, and who is online. Nothing of it is stored: workers tell each other over the bus.

A worker knows what its own streams say. It tells the others of every change at once, and of all
its people every 30 seconds. What was not repeated for 70 seconds is forgotten, so the people of
a worker that was killed go offline by themselves, and everybody knows it within 75 seconds.
"""

import logging
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Engine, text

from app.database.prepared import Prepared
from app.database.transactions import reading
from app.http.json import encode
from app.messenger.history import reading_history
from app.messenger.members import Membership
from app.realtime import HistoryUnavailableError, Realtime, Signal
from app.realtime.loop import spawn
from app.social.blocks import find_blocked

log = logging.getLogger(__name__)

ACTIVE_SECONDS = 60.0  # somebody is online for so long after a stream of theirs said `active`
CLOSED_SECONDS = 5.0  # … and for so long after it was closed: pages reconnect
REPEAT_SECONDS = 30.0  # between two messages that name all people of a worker
FORGET_SECONDS = 70.0  # what was not repeated for so long is not true any more
CHECK_SECONDS = 1.0
CHUNK = 500  # user ids in one signal; a notification of PostgreSQL carries less than 8,000 bytes

TYPING_MEMBERS_MAX = 50  # of a room in which typing is shown
PRESENCE_MEMBERS_MAX = 200  # of a room whose members see whether the others are online

# Those who may see whether one person is online, and may be seen by them.
_VISIBLE = Prepared(
    text(f"""
    SELECT DISTINCT other.user_id, person.username
    FROM memberships AS own
    JOIN users AS self ON self.id = own.user_id AND self.show_presence
    JOIN memberships AS other ON other.room_id = own.room_id
        AND other.user_id <> own.user_id AND other.left_id IS NULL
    JOIN users AS person ON person.id = other.user_id AND person.show_presence
    WHERE own.user_id = CAST(:user_id AS bigint) AND own.left_id IS NULL
        AND (
            SELECT count(*) FROM memberships AS everybody
            WHERE everybody.room_id = own.room_id AND everybody.left_id IS NULL
        ) <= {PRESENCE_MEMBERS_MAX}
""")  # noqa: S608
)


class Presence:
    """What one worker knows of who is online, and whom it tells.

    Touched in the loop's thread only.

    Args:
        engine: The database.
        realtime: The streams of this worker, and the way to the other workers.
    """

    def __init__(self, engine: Engine, realtime: Realtime) -> None:
        self._engine = engine
        self._realtime = realtime
        self._origin = secrets.token_hex(4)
        self._own: dict[int, dict[int, float]] = {}  # until when, by user and stream
        self._others: dict[str, dict[int, float]] = {}  # when last named, by worker and user

    def start(self) -> None:
        """Begin to listen to the other workers and to tell them."""
        self._realtime.on_signals(self._on_signal)
        threading.Thread(target=self._check_forever, name="presence", daemon=True).start()

    # Presence

    def is_online(self, user_id: int) -> bool:
        """Tell whether a person is online, on whatever worker."""
        return user_id in self._own or any(user_id in users for users in self._others.values())

    def visible_names(self, user_id: int) -> Mapping[int, str]:
        """Return who is online of those whom a person may see: names by ids."""
        with reading(self._engine) as connection:
            rows = _VISIBLE.all(connection, {"user_id": user_id})
            blocked = find_blocked(connection, user_id)
        return {
            other_id: name
            for other_id, name in rows
            if other_id not in blocked and self.is_online(other_id)
        }

    def set_active(self, user_id: int, stream: int, *, is_active: bool) -> None:
        """Note what one of a person's streams says of them.

        Args:
            user_id: Who.
            stream: Which of their streams; any number that no other one has.
            is_active: Whether they look at it.
        """
        if is_active:
            self._set(user_id, stream, monotonic() + ACTIVE_SECONDS)
        else:
            self._set(user_id, stream, None)

    def forget_stream(self, user_id: int, stream: int) -> None:
        """Note that a stream is closed."""
        until = self._own.get(user_id, {}).get(stream)
        if until is not None:
            self._set(user_id, stream, min(until, monotonic() + CLOSED_SECONDS))

    def _set(self, user_id: int, stream: int, until: float | None) -> None:
        was_online, was_here = self.is_online(user_id), user_id in self._own
        streams = self._own.setdefault(user_id, {})
        if until is None:
            streams.pop(stream, None)
        else:
            streams[stream] = until
        if not streams:
            del self._own[user_id]
        if was_here != (user_id in self._own):
            self._tell_workers([user_id], is_online=not was_here)
        self._note_change(user_id, was_online=was_online)

    def _note_change(self, user_id: int, *, was_online: bool) -> None:
        is_online = self.is_online(user_id)
        if is_online != was_online and self._realtime.feed.live:
            spawn(self._tell_people, user_id, is_online)

    def _tell_people(self, user_id: int, is_online: bool) -> None:
        try:
            with reading_history(self._engine) as connection:
                rows = _VISIBLE.all(connection, {"user_id": user_id})
                blocked = find_blocked(connection, user_id)
                name = _NAME.first(connection, {"user_id": user_id})
        except HistoryUnavailableError:
            return  # soft state: the next change, or the next list, tells it
        if name is not None and rows:
            audience = {other_id for other_id, _ in rows} - set(blocked)
            frame = encode({"type": "presence", "user": name[0], "online": is_online})
            self._realtime.feed.signal(audience, frame)

    def _tell_workers(self, user_ids: Collection[int], *, is_online: bool) -> None:
        ids = list(user_ids)
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            self._realtime.send_signal(Signal("presence", [self._origin, is_online, chunk]))

    def _on_presence(self, origin: str, is_online: bool, user_ids: Sequence[int]) -> None:
        users = self._others.setdefault(origin, {})
        for user_id in user_ids:
            was_online = self.is_online(user_id)
            if is_online:
                users[user_id] = monotonic()
            else:
                users.pop(user_id, None)
            self._note_change(user_id, was_online=was_online)
        if not users:
            del self._others[origin]

    def _check_forever(self) -> None:
        repeat_at = monotonic() + REPEAT_SECONDS
        could_hear = False
        while True:
            sleep(CHECK_SECONDS)
            try:
                # At the start, and after the bus was away: an answer before that would be lost.
                can_hear = self._realtime.bus_is_healthy()
                if can_hear and not could_hear:
                    self._realtime.send_signal(Signal("who", []))
                could_hear = can_hear
                now = monotonic()
                self._expire(now)
                if now >= repeat_at:
                    repeat_at = now + REPEAT_SECONDS
                    self._tell_workers(self._own, is_online=True)
            except Exception:
                log.exception("defect while presence was looked after")

    def _expire(self, now: float) -> None:
        for user_id, streams in tuple(self._own.items()):
            for stream, until in tuple(streams.items()):
                if until <= now:
                    self._set(user_id, stream, None)
        for origin, users in tuple(self._others.items()):
            for user_id, named_at in tuple(users.items()):
                if now - named_at > FORGET_SECONDS:
                    self._on_presence(origin, False, [user_id])

    # Typing

    def tell_typing(self, member: Membership) -> None:
        """Tell the other members of a room that somebody types. Waits for the database.

        Raises:
            SQLAlchemyError: It is away.
        """
        if member.access_version < 0:  # one of the two has blocked the other
            return
        with reading(self._engine) as connection:
            hidden = sorted(find_blocked(connection, member.user_id))
        values: list[Any] = [
            member.room_id,
            member.room_name,
            member.user_id,
            member.username,
            hidden,
        ]
        self._realtime.send_signal(Signal("typing", values))
        self._show_typing(*values)

    def _show_typing(
        self, room_id: int, room_name: str, user_id: int, username: str, hidden: Collection[int]
    ) -> None:
        feed = self._realtime.feed
        if not feed.live:
            return
        try:
            members = feed.rooms.get(room_id)
        except HistoryUnavailableError:
            return
        here = {each for each, (_, left_id) in members.items() if left_id is None}
        if user_id in here and len(here) <= TYPING_MEMBERS_MAX:
            frame = encode({"type": "typing", "room": room_name, "user": username})
            feed.signal(here - {user_id, *hidden}, frame)

    # Signals

    def _on_signal(self, signal: Signal) -> None:
        match signal.kind:
            case "presence":
                self._on_presence(*signal.values)
            case "who":
                self._tell_workers(self._own, is_online=True)
            case "typing":
                spawn(self._show_typing, *signal.values)


_NAME = Prepared(text("SELECT username FROM users WHERE id = CAST(:user_id AS bigint)"))
