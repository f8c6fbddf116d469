"""Whose sockets are open on this worker: to count them, and to close those that have no right left.

A socket outlives its access token, but not its session, and the socket of a room not its user's
membership: once a second each worker asks the database which sessions were revoked lately and who
has left a room, on whatever machine, and closes their sockets.
"""

import logging
import threading
from collections import Counter, defaultdict, deque
from datetime import timedelta
from time import sleep
from typing import Protocol, cast

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.sessions import revoked_since
from app.clock import utcnow
from app.messenger.members import departures_after
from app.realtime import Connection, closing

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# How far back each look goes again: a revocation may be committed late, by a machine whose clock
# is behind, and a handshake may end after the look that should have closed it.
OVERLAP = timedelta(minutes=5)
OVERLAP_LOOKS = 30  # the same for departures, which have numbers in place of times
PROBE_SECONDS = 3.0  # a socket whose client answers no ping for so long is taken for dead
PROBES_MAX = 4  # newcomers of one user that may wait for that at a time


class SocketOwner(Protocol):
    """The listener of an open socket."""

    @property
    def room_id(self) -> int | None:
        """The room that the socket is for; None of a stream, which is for all."""


class SocketRegistry:
    """The open sockets of one worker by their users and sessions.

    Touched in the loop's thread only.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of_session: defaultdict[int, list[Connection]] = defaultdict(list)
        self._of_user: defaultdict[int, list[Connection]] = defaultdict(list)
        self._probes: Counter[int] = Counter()
        self._seen_until = utcnow()
        self._departures = deque([0], OVERLAP_LOOKS)  # the newest ones of the last looks

    def start(self) -> None:
        """Begin to look for revoked sessions and departures."""
        threading.Thread(target=self._look_forever, name="socket_registry", daemon=True).start()

    def add(self, user_id: int, session_id: int, connection: Connection) -> None:
        """Note an open socket."""
        self._of_session[session_id].append(connection)
        self._of_user[user_id].append(connection)

    def remove(self, user_id: int, session_id: int, connection: Connection) -> None:
        """Forget a socket that is closed."""
        _remove(self._of_session, session_id, connection)
        _remove(self._of_user, user_id, connection)

    def sockets_of(self, user_id: int) -> int:
        """Return how many sockets a user has open on this worker."""
        return len(self._of_user.get(user_id, ()))

    def drop_dead_socket(self, user_id: int) -> bool:
        """Close one of a user's sockets whose client is gone, to make room for another one.

        Waits for answers to pings for some seconds, in a greenlet.

        Returns:
            Whether there is room now.
        """
        if self._probes[user_id] >= PROBES_MAX:
            return False
        self._probes[user_id] += 1
        try:
            return self._drop_dead_socket(user_id)
        finally:
            self._probes[user_id] -= 1
            if not self._probes[user_id]:
                del self._probes[user_id]

    def _drop_dead_socket(self, user_id: int) -> bool:
        sockets = self.sockets_of(user_id)
        for connection in tuple(self._of_user.get(user_id, ())):
            connection.probe()
        while self.sockets_of(user_id) >= sockets:
            silent = [each for each in self._of_user[user_id] if not each.is_answering]
            if not silent:
                return False
            oldest = max(silent, key=lambda each: each.unanswered_seconds)
            if oldest.unanswered_seconds >= PROBE_SECONDS:
                oldest.abort()
            else:
                sleep(0.05)
        return True

    def close_revoked(self) -> None:
        """Close the sockets of sessions that were revoked. Waits for the database.

        Raises:
            SQLAlchemyError: It is away; the next look will see what this one has missed.
        """
        now = utcnow()
        if self._of_session:
            for session_id in revoked_since(self._engine, self._seen_until - OVERLAP):
                for connection in tuple(self._of_session.get(session_id, ())):
                    connection.close(closing.SESSION_REVOKED)
        self._seen_until = now

    def close_departed(self) -> None:
        """Close the sockets of rooms whose users have left them. Waits for the database.

        Raises:
            SQLAlchemyError: It is away; the next look will see what this one has missed.
        """
        departures = departures_after(self._engine, self._departures[0])
        for departure in departures:
            for connection in tuple(self._of_user.get(departure.user_id, ())):
                if cast(SocketOwner, connection.listener).room_id == departure.room_id:
                    connection.close(closing.NO_SUCH_ROOM)
        newest = (self._departures[-1], *(departure.left_id for departure in departures))
        self._departures.append(max(newest))

    def _look_forever(self) -> None:
        while True:
            sleep(LOOK_SECONDS)
            for look in (self.close_revoked, self.close_departed):
                try:
                    look()
                except SQLAlchemyError as error:
                    log.warning("%s: the database is away: %s", look.__name__, type(error).__name__)
                except Exception:
                    log.exception("defect while looking for sockets to close")


def _remove(of: dict[int, list[Connection]], key: int, connection: Connection) -> None:
    of[key].remove(connection)
    if not of[key]:
        del of[key]
