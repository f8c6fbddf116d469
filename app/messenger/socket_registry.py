"""Whose sockets are open on this worker, so that they can be counted, and closed from afar.

A socket outlives its access token, but not its session: once a second each worker asks the
database which sessions were revoked lately, on whatever machine, and closes their sockets.
"""

import logging
import threading
from collections import defaultdict
from datetime import timedelta
from time import sleep

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.sessions import revoked_since
from app.clock import utcnow
from app.realtime import Connection, closing

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# How far back each look goes again: a revocation may be committed late, by a machine whose clock
# is behind, and a handshake may end after the look that it should have been closed by.
OVERLAP = timedelta(minutes=5)


class SocketRegistry:
    """The open sockets of one worker by their users and sessions.

    Touched in the loop's thread only.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of_session: defaultdict[int, set[Connection]] = defaultdict(set)
        self._count_of: defaultdict[int, int] = defaultdict(int)
        self._seen_until = utcnow()

    def start(self) -> None:
        """Begin to look for revoked sessions."""
        threading.Thread(target=self._look_forever, name="socket_registry", daemon=True).start()

    def enter(self, user_id: int, session_id: int, connection: Connection) -> None:
        """Note an open socket."""
        self._of_session[session_id].add(connection)
        self._count_of[user_id] += 1

    def leave(self, user_id: int, session_id: int, connection: Connection) -> None:
        """Forget a socket that is closed."""
        self._of_session[session_id].discard(connection)
        if not self._of_session[session_id]:
            del self._of_session[session_id]
        self._count_of[user_id] -= 1
        if not self._count_of[user_id]:
            del self._count_of[user_id]

    def sockets_of(self, user_id: int) -> int:
        """Return how many sockets a user has open on this worker."""
        return self._count_of.get(user_id, 0)

    def look(self) -> None:
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

    def _look_forever(self) -> None:
        while True:
            sleep(LOOK_SECONDS)
            try:
                self.look()
            except SQLAlchemyError as error:
                log.warning("revoked sessions: the database is away: %s", type(error).__name__)
            except Exception:
                log.exception("defect while looking for revoked sessions")
