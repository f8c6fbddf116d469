"""How gunicorn serves Beseda. Imports nothing of `app` at its top.

The master must not load what the workers' gevent has to patch first: psycopg, for one, decides
at its import how it waits. So there is no preload, and the hooks import late.
"""

import gc
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

from gunicorn import glogging

# SIGHUP reads this file again, and by then the files beside it may be of a new release.
for _name in ("config", "config_urls", "logs", "worker"):
    sys.modules.pop(_name, None)

import logs  # noqa: E402
from config import Config  # noqa: E402
from worker import (  # noqa: E402
    BoundedWorker,
    expect_no_successors,
    expect_successors,
    forget_ready,
    has_predecessors,
    note_ready,
)

_config = Config.from_env(os.environ)  # a wrong setting stops the start here


def _bind(port):
    # One socket for IPv6 and IPv4 if the system supports it, otherwise two.
    ipv4, ipv6 = f"0.0.0.0:{port}", f"[::]:{port}"
    if not socket.has_ipv6:
        return [ipv4]
    with socket.socket(socket.AF_INET6) as first, socket.socket(socket.AF_INET) as second:
        try:
            first.bind(("::", 0))
        except OSError:
            return [ipv4]
        try:
            second.bind(("0.0.0.0", first.getsockname()[1]))  # noqa: S104
        except OSError:
            return [ipv6]
    return [ipv4, ipv6]


bind = _bind(_config.PORT)

worker_class = BoundedWorker
workers = _config.workers

# Each socket takes a descriptor, so use as many as the system permits. If there are few, WebSockets
# and HTTP share them; otherwise none would be left for requests and the database.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
for _descriptors in (_hard, 1_048_576, 65_536, 10_240, _soft):
    # macOS reports "unlimited", but refuses that and any value above a limit of its kernel.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_descriptors, _hard))
        break
if _descriptors == resource.RLIM_INFINITY:
    _descriptors = 1_048_576
_own_descriptors = 64 + 3 * _config.DATABASE_POOL_SIZE  # a connection to SQLite has three files
worker_connections = min(10_000, _descriptors // 4)  # of HTTP; open WebSockets do not count
_sockets_most = max(1, _descriptors - worker_connections - _own_descriptors)

limit_request_fields = 50  # headers; gunicorn looks through the bytes of so many again and again
limit_request_line = 8190  # bytes, the most: 600 letters of any script in a query are 7,200

timeout = 60  # seconds; a worker that does not respond to its master for longer is replaced
graceful_timeout = 4  # within 5 s of SIGTERM the process is gone
keepalive = 4  # seconds for the head of a request, also while a worker is busy; see `worker.py`

# Only PROXY_HOPS decides whose X-Forwarded-* headers are trusted. gunicorn's default would trust
# any process of this machine, also a proxy that passes the client's own headers on.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers = {}

worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
control_socket_disable = True  # it would be one path for all instances of a user

loglevel = _config.LOG_LEVEL.lower()


class logger_class(glogging.Logger):  # noqa: N801 - it is a setting
    """Writes gunicorn's lines in the format of our log; the application logs requests."""

    def setup(self, cfg):
        super().setup(cfg)
        logs.configure(_config.LOG_LEVEL, _config.LOG_FORMAT)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def on_starting(server):
    """Create the folder of the workers' metrics, and warn of settings that cannot be met."""
    # Here and not above, where a SIGHUP comes by again. `app.operations.metrics` says more.
    folder = tempfile.mkdtemp(prefix="beseda-metrics-", dir=worker_tmp_dir)
    os.chown(folder, server.cfg.uid, server.cfg.gid)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    for warning in _config.warnings(os.environ):
        server.log.warning("%s", warning)
    if _config.workers != _config.WEB_CONCURRENCY:
        server.log.info(
            "SQLite has one writer: 1 worker, although WEB_CONCURRENCY is %d",
            _config.WEB_CONCURRENCY,
        )
    if _sockets_most < _config.SOCKETS_MAX:
        # For the workers, who read their settings after this.
        os.environ["SOCKETS_MAX"] = str(_sockets_most)
        server.log.warning(
            "%d descriptors (ulimit -n) are too few for SOCKETS_MAX=%d: %d sockets a worker",
            _descriptors,
            _config.SOCKETS_MAX,
            _sockets_most,
        )


def when_ready(_server):
    """Let SIGTERM end a reload: workers that wait for their successors leave at once."""
    handle = signal.getsignal(signal.SIGTERM)

    def handle_sigterm(number, frame):
        expect_no_successors()
        handle(number, frame)

    signal.signal(signal.SIGTERM, handle_sigterm)


def on_reload(server):
    """Let the old workers accept connections until the new ones have loaded."""
    first = server.worker_age + 1
    expect_successors(range(first, first + server.cfg.workers))


def on_exit(_server):
    """Remove the folder of the metrics."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def pre_fork(server, worker):
    """Give the worker a place, that of a dead worker if there is one."""
    taken = {each.place for each in server.WORKERS.values()}
    worker.place = next(place for place in count(1) if place not in taken)


def post_fork(_server, worker):
    """Tell the worker its place, and whether it logs what each start logs once."""
    os.environ["BESEDA_WORKER"] = str(worker.place)
    os.environ["BESEDA_TELLS"] = "yes" if worker.age == 1 else "no"


def child_exit(_server, worker):
    """Remove the gauges of a dead worker; its successor continues its counters.

    As `prometheus_client.multiprocess.mark_process_dead` does, which the master must not load.
    """
    for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"gauge_live*_{worker.place}.db"):
        file.unlink()
    forget_ready(worker.age)


def post_worker_init(worker):
    """Start the worker's part of the application, and watch for its end."""
    import gevent

    import app

    application = worker.app.callable
    app.start(application)
    # What was loaded stays: looking through it takes 85 ms, in which the worker does nothing else.
    gc.collect()
    gc.freeze()

    def leave():
        # SIGTERM only makes `alive` false, and so does a master that is gone.
        while worker.alive:
            gevent.sleep(0.05)
        app.end_polls(application)
        worker.drain()
        app.stop(application)

    def follow():
        # On SQLite no bus tells what the workers of before a SIGHUP still store.
        while has_predecessors(worker.age):
            app.reconcile(application)
            gevent.sleep(0.1)
        app.reconcile(application)

    note_ready(worker.age)
    worker.leaving = gevent.spawn(leave)
    if _config.is_sqlite:
        gevent.spawn(follow)


def worker_exit(_server, worker):
    """Wait until `leave` has ended before the process ends."""
    worker.alive = False  # it still is, where the master was killed
    if hasattr(worker, "leaving"):
        worker.leaving.join(timeout=4)
    if os.getpid() == worker.pid and os.getppid() != worker.ppid:
        on_exit(None)  # the master was killed, and cannot tidy up
