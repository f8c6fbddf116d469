"""The worker that serves HTTP for gunicorn: gevent's, with bounds on what one client can take.

Imports nothing of `app` at its top: the master loads this file, and the workers' gevent has to
patch first what `app` imports.
"""

import logging
import os
import socket
from collections import OrderedDict
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from pathlib import Path
from time import monotonic

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gevent.socket import wait_read
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from config import Config

_config = Config.from_env(os.environ)

log = logging.getLogger("gunicorn.error")

HEAD_BYTES = 32 * 1024  # of all headers of a request, as much as nginx passes on
IDLE_MAX = 1000  # connections that wait for their next request; beyond it the oldest is closed
LINGER_SECONDS = 2.0  # for a client to read the response to a request that we do not read
LINGER_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 64 * 1024  # of a body that is read at once
CHUNKED_PIECE_BYTES = 4096  # … where it comes in chunks, which gunicorn parses in Python
CHUNKS_MAX = 10_000  # of a body; 5 MB come in 1,200 of the smallest that clients send, 4 KiB
UPLOADS_PATH = "/messenger/api/uploads"
DRAIN_SECONDS = 1.5  # for a leaving worker to answer before it closes its sockets
# … in which who uses an idle connection once more is answered: at a reload, at the end
IDLE_DRAIN_SECONDS = (1.0, 0.2)
_MOMENT_SECONDS = 1e-9  # a sleep in which all sockets are looked at; after 0 s they are not yet
RELOAD_SECONDS = 30  # after a SIGHUP the old workers wait for the new ones for so long at most


class BoundedWorker(GeventWorker):
    """gunicorn's gevent worker, with time limits for what one client can take.

    gunicorn gives the head of a request `keepalive` seconds, waits for ever for its body and for a
    client that does not read, and serves the requests of one connection without a break: a few
    clients could stop a worker.
    """

    def init_process(self):
        self.idle = OrderedDict()  # sockets that wait for their next request, the oldest first
        super().init_process()

    def run(self):
        """Accept connections until it is time to leave, then answer what has begun.

        In the place of gunicorn's, which goes on accepting for up to a second.
        """
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        self.servers = [
            StreamServer(
                each, partial(self.handle, _Name(each)), spawn=Pool(self.worker_connections), **tls
            )
            for each in self.sockets
        ]
        for server in self.servers:
            if self.cfg.workers > 1:
                server.max_accept = 1  # so that no worker takes all that wait
            server.start()
        while self.alive:
            self.notify()
            gevent.sleep(0.1)
        deadline = monotonic() + self.cfg.graceful_timeout
        while monotonic() < deadline and self._is_serving():
            self.notify()
            gevent.sleep(0.05)
        for server in self.servers:
            server.stop(timeout=1)

    def drain(self):
        """Accept no more connections, and wait until nobody is served any more.

        Who uses an idle connection just then is answered, with `Connection: close`. A proxy would
        otherwise send requests to connections that end at that moment.
        """
        for server in self.servers:
            server.close()
        began = monotonic()
        idle_seconds = IDLE_DRAIN_SECONDS[not _successors(self.age)]
        while self._is_serving() and (waited := monotonic() - began) < DRAIN_SECONDS:
            if waited > idle_seconds:
                self.close_idle()
            gevent.sleep(0.02)
        self.close_idle()

    def _is_serving(self):
        return any(len(server.pool) for server in self.servers)

    def load_wsgi(self):
        """Load the application and wrap it with the limits of `_bounded`."""
        super().load_wsgi()
        self.connects = import_module("app.realtime.pace").Pace()
        self.wsgi = _bounded(self.wsgi)

    def handle(self, listener, client, addr):
        """Serve a connection; of many that come at once, one after another begins."""
        self.connects.wait_turn()
        super().handle(listener, client, addr)

    def handle_request(self, listener_name, req, sock, addr):
        if sum(len(name) + len(value) for name, value in req.headers) > HEAD_BYTES:
            raise LimitRequestHeaders("the headers are too large")
        # gunicorn would hold a megabyte of each body, and copy it for each piece.
        req.unreader.max_body_chunk = PIECE_BYTES
        exchange = _Exchange(req, sock)
        token = _current.set(exchange)
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            _current.reset(token)
            exchange.end()
        self._wait_for_next(req, sock)

    def _wait_for_next(self, req, sock):
        # gunicorn knows one time for the next request and for the rest of its head. An idle
        # connection is kept longer than the proxy keeps it, a head that was begun is not.
        if pipelined := req.unreader.take_buffered():
            req.unreader.unread(pipelined)
            # Otherwise a client that does not wait for responses is served alone.
            gevent.sleep(_MOMENT_SECONDS)
            return
        self.idle[sock] = None
        if len(self.idle) > IDLE_MAX:
            self.close_idle(1)
        try:
            wait_read(sock.fileno(), timeout=_config.KEEPALIVE_SECONDS)
        except TimeoutError:
            raise StopIteration from None
        finally:
            self.idle.pop(sock, None)

    def close_idle(self, count=None):
        """Close connections that wait for their next request: all, or so many of the oldest."""
        for _ in range(len(self.idle) if count is None else count):
            cut_off(self.idle.popitem(last=False)[0])

    def handle_error(self, req, client, addr, exc):
        """Respond to malformed HTTP with problem+json, like to all other errors."""
        capture = _Capture(client)
        super().handle_error(req, capture, addr, exc)
        if capture.status:
            middleware = import_module("app.http.middleware")
            response = middleware.refused_by_server(self.app.callable, capture.status)
            with suppress(OSError):
                client.sendall(response)
                _linger(client)

    def handle_exit(self, sig, frame):
        """Stop; after a SIGHUP wait until the new workers have loaded."""
        if _successors(self.age):
            gevent.spawn(self._leave_to_successors)
        else:
            super().handle_exit(sig, frame)

    def _leave_to_successors(self):
        deadline = monotonic() + RELOAD_SECONDS
        while monotonic() < deadline and not all(_is_ready(age) for age in _successors(self.age)):
            gevent.sleep(0.05)
        self.alive = False


# Which workers have loaded after a SIGHUP: files in a folder that the workers of one master share.


def _folder():
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


def expect_successors(ages):
    """Note in the master which workers replace all others."""
    note = _folder() / "reload"
    note.with_suffix(".part").write_text(" ".join(map(str, ages)))
    note.with_suffix(".part").replace(note)


def expect_no_successors():
    """Note in the master that the workers leave for good."""
    (_folder() / "reload").unlink(missing_ok=True)


def has_predecessors(age):
    """Tell whether workers of before the last SIGHUP still serve beside this one."""
    first = min(_expected(), default=0)
    others = (int(each.name.partition("_")[2]) for each in _folder().glob("ready_*"))
    return any(each < first <= age for each in others)


def note_ready(age):
    """Note that a worker serves."""
    (_folder() / f"ready_{age}").touch()


def forget_ready(age):
    """Remove the note of a worker that is gone."""
    (_folder() / f"ready_{age}").unlink(missing_ok=True)


def _successors(age):
    ages = _expected()
    return ages if age < min(ages, default=0) else []


def _expected():
    try:
        return [int(each) for each in (_folder() / "reload").read_text().split()]
    except FileNotFoundError:
        return []


def _is_ready(age):
    return (_folder() / f"ready_{age}").exists()


# One request and its response


class _Exchange:
    """Disconnects a client that takes too long for the next piece of a request or a response."""

    def __init__(self, req, sock):
        self.req = req
        self.sock = sock
        seconds = _config.REQUEST_SECONDS
        if req.path.rstrip("/") == UPLOADS_PATH:
            seconds = max(seconds, _config.UPLOAD_SECONDS)
        # It repeats, because libev restarts with that time.
        self._timer = gevent.get_hub().loop.timer(seconds, seconds)
        self._timer.start(cut_off, sock)

    def go_on(self):
        """Start the client's time again."""
        self._timer.again(cut_off, self.sock)

    def end(self):
        self._timer.stop()
        self._timer.close()


_current: ContextVar[_Exchange] = ContextVar("exchange")


def cut_off(sock):
    """Shut a socket down: its readers get end-of-file, its writers get an error."""
    # By another object: gevent's own (26.9) raises in those who wait as if it were closed.
    with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _bounded(wsgi):
    """Return an application that reads and is read at the pace of others."""

    def application(environ, start_response):
        exchange = _current.get()
        body = environ["wsgi.input"] = _Input(environ)
        request_id = ""

        def start(status, headers, exc_info=None):
            nonlocal request_id
            if not body.is_read:
                exchange.req.force_close()
            request_id = next((value for name, value in headers if name == "X-Request-ID"), "")
            return start_response(status, headers, exc_info)

        pieces = wsgi(environ, start)
        return _Pieces(pieces, exchange, body, lambda: request_id)

    return application


class _Input:
    """The body of a request, read in small pieces.

    Attributes:
        is_read: Whether there is nothing left of it.
    """

    def __init__(self, environ):
        self._source = environ["wsgi.input"]
        self._left = int(environ.get("CONTENT_LENGTH") or 0)
        self._is_chunked = bool(environ.get("HTTP_TRANSFER_ENCODING"))
        if self._is_chunked:
            reader = _current.get().req.body.reader
            reader.parser = _few(reader.parser)

    @property
    def is_read(self):
        return not self._is_chunked and self._left <= 0

    def read(self, size=-1):
        pieces = []
        while size:
            most = CHUNKED_PIECE_BYTES if self._is_chunked else PIECE_BYTES
            piece = self._source.read(most if size < 0 else min(size, most))
            if not piece:
                self._is_chunked = False
                break
            self._left -= len(piece)
            size -= len(piece) if size > 0 else 0
            pieces.append(piece)
            if self._is_chunked or self._left > 0:  # the kernel may have more of it already
                gevent.sleep(_MOMENT_SECONDS)
        return b"".join(pieces)

    def readline(self, size=-1):
        line = self._source.readline(size)
        self._left -= len(line)
        return line

    def __iter__(self):
        return iter(self.readline, b"")


def _few(chunks):
    """Yield what gunicorn reads of a body in chunks, or refuse it if there are too many."""
    # Each costs some 4 us, however small it is: a megabyte of one-byte chunks took a second.
    for number, chunk in enumerate(chunks):
        if number == CHUNKS_MAX:
            raise import_module("werkzeug.exceptions").RequestEntityTooLarge
        yield chunk


class _Pieces:
    """The pieces of a response; time is counted from the last one."""

    def __init__(self, pieces, exchange, body, request_id):
        self._pieces = iter(pieces)
        self._close = getattr(pieces, "close", None)
        self._exchange = exchange
        self._body = body
        self._request_id = request_id
        self._is_whole = False
        self._bytes = 0

    def __iter__(self):
        return self

    def __next__(self):
        self._exchange.go_on()
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._is_whole = True
            raise
        self._bytes += len(piece)
        return piece

    def close(self):
        if self._close:
            self._close()
        if not self._is_whole:
            log.info(
                "a response was cut off before byte %d",
                self._bytes,
                extra={"request_id": self._request_id()},
            )
        elif not self._body.is_read:
            _linger(self._exchange.sock)


def _linger(sock):
    # A socket that is closed with something unread takes back the response (RFC 9112, section 9.6).
    until, left = monotonic() + LINGER_SECONDS, LINGER_BYTES
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while left > 0 and (seconds := until - monotonic()) > 0:
            sock.settimeout(seconds)
            data = sock.recv(65536)
            if not data:
                return
            left -= len(data)
            gevent.sleep(_MOMENT_SECONDS)


class _Name:
    """In the place of a listening socket, which may be closed before a connection is served."""

    def __init__(self, listener):
        self._name = listener.getsockname()

    def getsockname(self):
        return self._name


class _Capture:
    """Takes the place of a client's socket; keeps the status of the page that gunicorn writes."""

    def __init__(self, client):
        self._client = client
        self.status = 0

    def __getattr__(self, name):
        return getattr(self._client, name)

    def sendall(self, data):
        self.status = int(data.split(b" ", 2)[1])

    send = sendall
