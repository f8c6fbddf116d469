"""Spreads what many clients cause at the same moment, so that it delays nobody else for long.

After a restart all clients come back at once. Each of them takes milliseconds of the loop: for its
connection, its handshake, and each page of what it has missed. Without turns all that is ready
would run before each step that somebody else's message takes through the loop.
"""

from collections import deque

from app.realtime.loop import Event, give_way, spawn


class Pace:
    """Gives turns: at most one of those who ask begins before others in the loop come."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._is_taken = False

    def wait_turn(self) -> None:
        """Wait for a turn, in the order of asking."""
        if self._is_taken:
            turn = Event()
            self._waiting.append(turn)
            turn.wait()
        else:
            self._is_taken = True
            spawn(self._give_turns)

    def _give_turns(self) -> None:
        while self._waiting:
            self._waiting.popleft().set()
            give_way()
        self._is_taken = False
