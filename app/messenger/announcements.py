"""Tells all workers that something changed which streams show, after it was committed."""

from app.services import services


def announce(numbers: range) -> None:
    """Tell all workers of the current application's changes.

    Args:
        numbers: The event ids of one transaction; nobody is told of none.
    """
    services().realtime.announce(numbers)
