"""Tells all workers that something changed which streams show, after it was committed."""

from collections.abc import Mapping

from app.services import services


def announce(numbers: range, old_names: Mapping[int, str] | None = None) -> None:
    """Tell all workers of the current application's changes.

    Args:
        numbers: The event ids of one transaction; nobody is told of none.
        old_names: What a person and their rooms were called before an erasure, by event id. They
            are in no table any more: live streams are told, and nobody else.
    """
    services().realtime.announce(numbers, old_names)
