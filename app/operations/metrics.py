"""`/metrics` for Prometheus, summed over the workers of one machine.

Each worker has its own files, which `prometheus_client` maps into memory; the worker that gets the
request reads the files of all. Requests are counted there directly. Messages are counted in plain
numbers by the parts that handle them, which costs a twentieth, and written to the files once a
second: a worker that is killed loses its last second.

A worker's files are named by its place and not by its pid: a worker that replaces a dead one
continues its counters, and restarts leave no files behind.
"""

import os
import threading
from collections import Counter as TallyOf
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from time import monotonic, sleep
from typing import Literal

from flask import Flask, Response, request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

import logs
from app import threads
from app.database import sequence
from app.database.pool import pool_of
from app.http.errors import ApiError, DatabaseUnavailable, Overloaded
from app.http.middleware import elapsed, status_of
from app.messenger.writer import OutcomeUnknown
from app.notifications.notifier import Notifier
from app.notifications.push_service import Outcome
from app.realtime import Realtime, closing
from app.services import services

PUBLISH_SECONDS = 1.0

# Both are set by gunicorn.conf.py; without them this process is the only one.
FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
PLACE = os.environ.get("BESEDA_WORKER", "1")

# Fewer buckets than usual: each bucket is a line for each route in every scrape.
_REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0)
_BATCH_MESSAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LATE_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5)

# Other methods count as "other": a client could invent any number, and each would be a series.
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_OUR_CODES = {each.code for each in vars(closing).values() if isinstance(each, closing.Close)}
_CODES = _OUR_CODES | {1005, 1006}

disable_created_metrics()  # type: ignore[no-untyped-call]
if FOLDER:
    values.ValueClass = values.MultiProcessValue(lambda: PLACE)  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._published: dict[object, float] = {}

        # Requests. Finding a metric by its labels takes longer than counting, hence the caches.
        requests = self._counter(
            "requests", "Responses; 101 is a WebSocket.", "route", "method", "status"
        )
        self._requests_of = cache(requests.labels)
        request_seconds = self._histogram(
            "request_seconds",
            "Time from a request to its response.",
            _REQUEST_SECONDS,
            "route",
            "method",
        )
        self._request_seconds_of = cache(request_seconds.labels)
        # Messages
        self._batches = self._histogram(
            "batch_messages", "Messages stored in one transaction.", _BATCH_MESSAGES
        )
        self._store_seconds = self._counter("store_seconds", "Time spent in such transactions.")
        self._sequence_waits = self._counter(
            "sequence_waits", "Transactions that took the lock of the event ids."
        )
        self._sequence_wait_seconds = self._counter(
            "sequence_wait_seconds", "Time until they had it and the locks before it."
        )
        self._stored = self._counter("messages_stored", "Messages committed.")
        self._repeated = self._counter(
            "messages_repeated", "Messages that had been stored before, with the same client_id."
        )
        self._refused = self._counter(
            "messages_refused", "Messages whose senders were told an error.", "code"
        )
        self._waiting = self._gauge("messages_waiting", "Messages waiting to be stored.")
        self._delivered = self._counter(
            "messages_delivered", "Messages sent to live sockets, once for each."
        )
        self._replayed = self._counter(
            "messages_replayed", "Messages sent to sockets that resumed after an absence."
        )
        self._filled = self._counter(
            "messages_filled",
            "Messages read from the database because no publication came in time.",
        )
        self._reconciled = self._counter(
            "reconciled_rooms", "Rooms in which the database was ahead of the publications."
        )
        # Streams
        self._streams = self._gauge("streams_open", "Open streams, among the open WebSockets.")
        self._polls = self._gauge("polls_waiting", "Long-poll requests waiting for an event.")
        self._events_delivered = self._counter(
            "events_delivered", "Events sent to live streams, counted per stream."
        )
        self._events_replayed = self._counter(
            "events_replayed", "Events sent to streams that resumed after an absence."
        )
        self._events_filled = self._counter(
            "events_filled", "Events read from the database because no publication brought them."
        )
        self._feed_reconciled = self._counter(
            "reconciled_feeds", "Times when the database was ahead of the publications to streams."
        )
        self._resets = self._counter(
            "stream_resets", "Streams that had missed more events than they allowed to replay."
        )
        self._signals = self._counter(
            "signals", "Signals of typing and presence to streams, by outcome.", "outcome"
        )
        self._notifications = self._counter(
            "notifications",
            "Notifications to browsers (Web Push), by outcome.",
            "outcome",
        )
        self._notifications_waiting = self._gauge(
            "notifications_waiting", "Notifications waiting for a push service."
        )
        # Files
        self._files_stored = self._counter("files_stored", "Files of messages that came in.")
        self._file_bytes_stored = self._counter("file_bytes_stored", "Their bytes.")
        # Sockets
        self._sockets = self._gauge("sockets_open", "Open WebSockets.")
        self._closes = self._counter("socket_closes", "Closed WebSockets.", "code", "by")
        # Database, bus, workers
        self._bus_is_healthy = self._gauge(
            "bus_healthy",
            "1 if every worker receives the publications of the others.",
            mode="livemin",
        )
        self._connections = self._gauge(
            "database_connections", "Pooled connections, by state.", "state"
        )
        self._connections_max = self._gauge(
            "database_connections_max", "The maximum of pooled connections."
        )
        self._workers = self._gauge("workers", "Workers that serve requests.")
        self._loop_late = self._histogram(
            "loop_late_seconds", "How late timers of the event loops fired.", _LATE_SECONDS
        )
        self._errors = self._counter("errors_logged", "Errors in the log.")

        # Create the series of alerts now: Prometheus sees no increase when a series appears as 1.
        for code in sorted(_OUR_CODES):
            self._closes.labels(code, "server")
        for outcome in Outcome:
            self._notifications.labels(outcome.name.lower())
        for refusal in (DatabaseUnavailable, OutcomeUnknown, Overloaded, ApiError):
            self._refused.labels(refusal.code)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"beseda_{name}", meaning, labels, registry=self._registry)

    def _gauge(
        self, name: str, meaning: str, *labels: str, mode: Literal["livesum", "livemin"] = "livesum"
    ) -> Gauge:
        return Gauge(
            f"beseda_{name}", meaning, labels, registry=self._registry, multiprocess_mode=mode
        )

    def _histogram(
        self, name: str, meaning: str, buckets: Sequence[float], *labels: str
    ) -> Histogram:
        return Histogram(
            f"beseda_{name}", meaning, labels, buckets=buckets, registry=self._registry
        )

    def start(self, app: Flask) -> None:
        """Write the plain numbers to the files, once a second."""
        threading.Thread(
            target=self._publish_forever, args=(app,), name="metrics", daemon=True
        ).start()

    def _publish_forever(self, app: Flask) -> None:
        while True:
            self.publish(app)
            due = monotonic() + PUBLISH_SECONDS
            sleep(PUBLISH_SECONDS)
            self._loop_late.observe(max(0.0, monotonic() - due))

    def publish(self, app: Flask) -> None:
        """Write the plain numbers to the files."""
        realtime = services(app).realtime
        writer = services(app).writer
        handler: logs.Handler = services(app).log_handler
        pool = pool_of(services(app).engine)

        self._raise_to(self._stored, writer.stats.stored)
        self._raise_to(self._repeated, writer.stats.repeated)
        self._raise_to(self._store_seconds, writer.stats.store_seconds)
        self._raise_to(self._sequence_waits, sequence.waits.times)
        self._raise_to(self._sequence_wait_seconds, sequence.waits.seconds)
        for size, times in writer.stats.batches.items():
            for _ in range(int(self._news_of((self._batches, size), times))):
                self._batches.observe(size)
        for refusal, times in writer.stats.refused.items():
            self._raise_to(self._refused.labels(refusal), times)
        self._waiting.set(writer.waiting)

        self._raise_to(self._delivered, realtime.stats.delivered)
        self._raise_to(self._replayed, realtime.stats.replayed)
        self._raise_to(self._filled, realtime.stats.filled)
        self._raise_to(self._reconciled, realtime.stats.reconciled)
        self._publish_streams(realtime)
        self._publish_notifications(services(app).notifier)
        for (code, by), times in _known_closes(realtime.stats.closes).items():
            self._raise_to(self._closes.labels(code, by), times)
        self._sockets.set(realtime.sockets)
        self._bus_is_healthy.set(realtime.bus_is_healthy())

        self._connections.labels("lent").set(pool.lent)
        self._connections.labels("idle").set(pool.idle)
        self._connections_max.set(pool.size)
        self._workers.set(1)
        self._raise_to(self._errors, handler.errors)
        files = services(app).files.stats
        self._raise_to(self._files_stored, files.stored)
        self._raise_to(self._file_bytes_stored, files.stored_bytes)

    def _publish_streams(self, realtime: Realtime) -> None:
        stats = realtime.stats
        self._streams.set(len(realtime.feed.streams) - realtime.polls.waiting)
        self._polls.set(realtime.polls.waiting)
        self._raise_to(self._events_delivered, stats.events_delivered)
        self._raise_to(self._events_replayed, stats.events_replayed)
        self._raise_to(self._events_filled, stats.events_filled)
        self._raise_to(self._feed_reconciled, stats.feed_reconciled)
        self._raise_to(self._resets, stats.resets)
        self._raise_to(self._signals.labels("sent"), stats.signals)
        self._raise_to(self._signals.labels("dropped"), stats.signals_dropped)

    def _publish_notifications(self, notifier: Notifier) -> None:
        for outcome, times in notifier.outcomes.items():
            self._raise_to(self._notifications.labels(outcome.name.lower()), times)
        self._notifications_waiting.set(notifier.queue.waiting)

    def _raise_to(self, counter: Counter, total: float) -> None:
        counter.inc(self._news_of(counter, total))

    def _news_of(self, what: object, total: float) -> float:
        news = total - self._published.get(what, 0)
        self._published[what] = total
        return news

    def note_request(self, response: Response) -> Response:
        """Count a request, after its response is made."""
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in _METHODS else "other"
        status = status_of(response)
        self._requests_of(route, method, status).inc()
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._request_seconds_of(route, method).observe(elapsed())
        return response

    def text(self) -> bytes:
        """Return the metrics of all workers, in the text format of Prometheus."""
        if FOLDER is None:
            return generate_latest(self._registry)
        return threads.run("metrics", _text_of_all, FOLDER)


def _known_closes(closes: Mapping[tuple[int, bool], int]) -> Mapping[tuple[str, str], int]:
    known: TallyOf[tuple[str, str]] = TallyOf()
    for (code, is_ours), times in closes.items():
        known[str(code) if code in _CODES else "other", "server" if is_ours else "client"] += times
    return known


def _text_of_all(folder: str) -> bytes:
    registry = CollectorRegistry(support_collectors_without_names=True)
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
