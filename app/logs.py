"""How the application logs: one line per event on stdout, what is known of it after the message."""

import logging
import sys

from flask import g, has_request_context

_EXTRAS = ("user_id", "room_id", "code", "seconds", "milliseconds")


class _LineFormatter(logging.Formatter):
    """`2026-11-23 10:00:00 INFO app.answers: GET / 200 user_id=1 milliseconds=0.8 request_id=…`"""

    def format(self, record: logging.LogRecord) -> str:
        known = {name: getattr(record, name, None) for name in _EXTRAS}
        if has_request_context():
            known["request_id"] = g.get("request_id")
        told = "".join(f" {name}={value}" for name, value in known.items() if value is not None)
        # One event is one line, whatever a client has put into its path.
        first, *rest = super().format(record).split("\n")
        return "\n".join([first.replace("\r", " ") + told, *rest])


def configure(level: str) -> None:
    """Send the application's log to stdout.

    Args:
        level: The least important level that is shown.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("app")
    ours.handlers[:] = [handler]
    ours.setLevel(level)
