"""The current time; no other file asks the system for it."""

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Return the current time in UTC, in whole seconds, as the API shows it."""
    return datetime.now(UTC).replace(microsecond=0)
