"""How the log looks: one event is one line on stdout, JSON for machines, text on a terminal.

Imports nothing of `app`: gunicorn's master, which must not load it, writes the same lines.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from traceback import format_exception
from typing import Any, TextIO

import orjson

# What is known of an event besides its message, in the order in which it is written.
FIELDS = (
    "request_id",
    "user_id",
    "method",
    "path",
    "route",
    "status",
    "milliseconds",
    "room_id",
    "code",
    "seconds",
)
_IN_THE_MESSAGE = {"method", "path", "route", "status"}  # of a request, where people read it

_HANDLER = "beseda"  # by its name, because after a SIGHUP its class is another

# C0 and C1 controls, DEL, the two other ends of a line that Unicode has, and what turns the
# direction of a text around.
_CONTROLS = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *(*range(32), *range(127, 160), 0x2028, 0x2029),
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    )
}
# JSON itself escapes C0 controls alone.
_CONTROLS_OF_JSON = {code: text for code, text in _CONTROLS.items() if code >= 127}

# What gunicorn quotes is what a client has sent, a header with a token perhaps.
_QUOTED = re.compile(r""":? b?(['"]).*\1""")
_QUERY = re.compile(r"\?\S*")


class JsonFormatter(logging.Formatter):
    """`{"time":"2026-11-23T10:00:00.123Z","level":"INFO","logger":"app.http.middleware",…}`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time_of(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": _message_of(record).translate(_CONTROLS_OF_JSON),
        }
        fields |= {
            name: value.translate(_CONTROLS_OF_JSON) if isinstance(value, str) else value
            for name, value in _known_of(record).items()
        }
        if trace := _trace_of(record):
            fields["traceback"] = trace
        try:
            return orjson.dumps(fields, default=str).decode()
        except TypeError:  # a lone surrogate, a number beyond 64 bits
            return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """`10:00:00 INFO app.http.middleware: GET / 200 request_id=… milliseconds=0.8`."""

    def format(self, record: logging.LogRecord) -> str:
        known = "".join(
            f" {name}={value}"
            for name, value in _known_of(record).items()
            if name not in _IN_THE_MESSAGE
        )
        when = _time_of(record).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        # Whatever a client has put into its path ends no line, and moves no cursor.
        message = _message_of(record).translate(_CONTROLS)
        line = f"{when} {record.levelname} {record.name}: {message}{known}"
        trace = _trace_of(record)
        return f"{line}\n{trace}" if trace else line


def _time_of(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _message_of(record: logging.LogRecord) -> str:
    message = record.getMessage()
    return _hidden(message) if record.name.startswith("gunicorn") else message


def _trace_of(record: logging.LogRecord) -> str:
    if not record.exc_info or not record.exc_info[0]:
        return ""
    trace = "".join(format_exception(*record.exc_info)).rstrip()
    if record.name.startswith("gunicorn"):
        # Only the lines that begin at the margin hold what a client has sent.
        trace = "\n".join(
            line if line.startswith(" ") else _hidden(line) for line in trace.split("\n")
        )
    return trace


def _hidden(text: str) -> str:
    return _QUERY.sub("", _QUOTED.sub("", text))


def _known_of(record: logging.LogRecord) -> dict[str, Any]:
    known = {name: getattr(record, name, None) for name in FIELDS}
    return {name: value for name, value in known.items() if value is not None}


class Handler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream.

    Args:
        form: `json` or `text`; None: text on a terminal, otherwise JSON.
        context: What is known of every event of the moment, such as the request that it
            belongs to.
        stream: Where they go.

    Attributes:
        errors: How many events were errors.
    """

    def __init__(
        self, form: str | None, context: Callable[[], Mapping[str, Any]], stream: TextIO
    ) -> None:
        super().__init__(stream)
        form = form or ("text" if stream.isatty() else "json")
        self.name = _HANDLER
        self.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
        self.errors = 0
        self._context = context

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.errors += 1
        for name, value in self._context().items():
            record.__dict__.setdefault(name, value)
        super().emit(record)


def configure(
    level: str,
    form: str | None,
    context: Callable[[], Mapping[str, Any]] = dict,
    stream: TextIO | None = None,
) -> Handler:
    """Send the log of this process to a stream, that of the libraries from WARNING on.

    Args:
        level: The least important level that is shown.
        form: As `Handler` takes it.
        context: Likewise.
        stream: Likewise; None: stdout.
    """
    # What no line of ours says is not looked for (logging HOWTO, "Optimization").
    logging.logThreads = logging.logMultiprocessing = False
    handler = Handler(form, context, stream or sys.stdout)
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if each.name != _HANDLER]
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for ours in ("app", "gunicorn.error"):
        logging.getLogger(ours).setLevel(level)
    return handler


def log_defect_of_thread(defect: threading.ExceptHookArgs) -> None:
    """Log what ended a thread; to be `threading.excepthook`, which would print it."""
    name = defect.thread.name if defect.thread else "unknown"
    exc_info = (defect.exc_type, defect.exc_value, defect.exc_traceback)
    logging.getLogger("app").error("defect ended the thread %s", name, exc_info=exc_info)  # type: ignore[arg-type]
