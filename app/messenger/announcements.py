"""Tells all workers that something changed which streams show, after it was committed."""

from app.realtime import Publication
from app.services import services


def announce(numbers: range) -> None:
    """Tell all workers of changes.

    Args:
        numbers: The event ids of one transaction; nobody is told of none.
    """
    if numbers:
        realtime = services().realtime
        # Of no room: whoever has streams reads what it is.
        realtime.publish([Publication(0, numbers[0] - 1, numbers[-1], None)])
