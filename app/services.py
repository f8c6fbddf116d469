"""The parts of an application that `create_app` makes: one typed object, reached by `services()`.

The types are imported for the type checker only, so this file depends on none of the parts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, current_app

import logs
from config import Config

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.limits.rules import Limits
    from app.mail import Mailer
    from app.media.files import FileStore
    from app.media.store import MediaStore
    from app.messenger.events import MessengerEvents
    from app.messenger.presence import Presence
    from app.messenger.read_marks import ReadMarkWriter
    from app.messenger.socket_registry import SocketRegistry
    from app.messenger.writer import MessageWriter
    from app.notifications.notifier import Notifier
    from app.operations.metrics import Metrics
    from app.realtime import Realtime

_KEY = "beseda"  # of Flask's extensions


@dataclass(slots=True)
class Services:
    """The parts of one application.

    Attributes:
        config: The settings.
        engine: The database.
        files: Stores the files of messages.
        limits: The rate limits and their counters.
        log_handler: Writes the log and counts its errors.
        mailer: Sends e-mails; None if no mail server is set.
        media: Stores pictures.
        events: Reads the events of streams from the database.
        metrics: The metrics for Prometheus.
        notifier: Sends notifications to people who do not look.
        on_block: Called with the ids of two users when one of them blocks or unblocks the other.
        read_marks: Stores how far people have read.
        presence: Knows who types and who is online.
        realtime: The open sockets of this worker.
        socket_registry: Knows whose sockets they are.
        writer: Stores messages.
    """

    config: Config
    engine: "Engine"
    events: "MessengerEvents"
    files: "FileStore"
    limits: "Limits"
    log_handler: logs.Handler
    mailer: "Mailer | None"
    media: "MediaStore"
    metrics: "Metrics"
    notifier: "Notifier"
    on_block: Callable[[int, int], None]
    read_marks: "ReadMarkWriter"
    presence: "Presence"
    realtime: "Realtime"
    socket_registry: "SocketRegistry"
    writer: "MessageWriter"

    def bind(self, app: Flask) -> None:
        """Attach this object to an application."""
        app.extensions[_KEY] = self


def services(app: Flask | None = None) -> Services:
    """Return the parts of an application.

    Args:
        app: None: the one that handles the current request or command.
    """
    found: Services = (app or current_app).extensions[_KEY]
    return found
