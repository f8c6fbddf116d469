"""What we lean on in libraries and what they do not promise: an upgrade that breaks it fails here."""

import inspect
import os
import re
import select
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import flask_sock
import gevent
import httpx
import psycopg
import pytest
import simple_websocket
from flask import Blueprint, Flask
from gunicorn import glogging
from gunicorn.config import Config as GunicornConfig
from gunicorn.http.parser import RequestParser
from gunicorn.workers.base import Worker
from gunicorn.workers.ggevent import GeventWorker
from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from redis.connection import Connection
from redis.utils import HIREDIS_AVAILABLE
from sqlalchemy import Integer, bindparam, create_engine, event, literal_column
from sqlalchemy import select as sql_select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from tests import processes
from tests.servers import ROOT, START_SECONDS, free_port

PROBE = """
import os

def app(environ, start_response):
    socket = environ["gunicorn.socket"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield f"{type(socket).__module__} {socket.fileno()} {os.get_blocking(socket.fileno())}".encode()
"""


@pytest.mark.parametrize("file", ["requirements.in", "requirements-s3.in", "requirements-dev.in"])
def test_every_library_is_there_in_exactly_the_version_that_was_tried(file):
    lines = [line.strip() for line in (ROOT / file).read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("#", "-c ", "-r "))]

    assert wanted
    for line in wanted:
        pin = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", line)
        assert pin, f"no exact pin: {line}"
        assert version(pin[1]) == pin[2], line


def test_simple_websocket_takes_our_thread_and_subprotocols():
    parameters = inspect.signature(simple_websocket.Server.__init__).parameters

    assert {"subprotocols", "thread_class"} <= set(parameters)


def test_simple_websocket_leaves_the_socket_alone_when_it_is_not_connected():
    ours, theirs = socket.socketpair()
    started = []

    class NoThread:
        name = ""

        def __init__(self, target):
            pass

        def start(self):
            started.append(self)

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "HTTP_HOST": "localhost",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_PROTOCOL": "bearer, token",
        "gunicorn.socket": ours,
    }
    with ours, theirs:
        ws = simple_websocket.Server(environ, subprotocols=["bearer"], thread_class=NoThread)
        answer = theirs.recv(4096)

        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in answer.lower()
        assert b"\r\nsec-websocket-protocol: bearer\r\n" in answer.lower()
        assert b"sec-websocket-extensions" not in answer.lower()  # none was offered
        assert len(started) == 1
        assert ws.connected
        assert ws.sock.fileno() == ours.fileno()

        ws.connected = False
        with pytest.raises(simple_websocket.ConnectionClosed):
            ws.close()  # as flask-sock does at the end, and ignores
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


def test_flask_sock_registers_on_a_blueprint_and_only_for_websockets():
    assert "bp" in inspect.signature(flask_sock.Sock.route).parameters
    app, bp = Flask(__name__), Blueprint("chat", __name__)

    @bp.get("/chat")
    def http():
        return "http"

    @flask_sock.Sock().route("/chat", bp=bp)
    def chat(ws):
        """Never called."""

    app.register_blueprint(bp)

    assert [rule.rule for rule in app.url_map.iter_rules() if rule.websocket] == ["/chat"]
    assert app.test_client().get("/chat").text == "http"


def test_flask_sock_passes_our_options_on():
    assert "SOCK_SERVER_OPTIONS" in inspect.getsource(flask_sock.Sock.route)


def test_redis_connection_waits_for_a_push_as_long_as_it_is_told():
    takes = inspect.signature(Connection.read_response).parameters

    assert {"timeout", "disconnect_on_error", "push_request"} <= set(takes)
    assert HIREDIS_AVAILABLE  # what comes is taken apart in C


def test_gunicorn_gives_its_socket_which_does_not_block(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    port = free_port()
    process = processes.start(
        [
            *(sys.executable, "-m", "gunicorn", "--worker-class", "gevent"),
            *("--bind", f"127.0.0.1:{port}", "probe:app"),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        kind, descriptor, blocks = get_soon(f"http://127.0.0.1:{port}/").split()
    finally:
        process.terminate()
        process.wait(10)

    assert kind.startswith("gevent.")
    assert int(descriptor) > 2
    assert blocks == "False"


def test_gunicorn_calls_what_our_worker_extends():
    takes = inspect.signature(GeventWorker.handle_request).parameters
    assert list(takes) == ["self", "listener_name", "req", "sock", "addr"]
    assert list(inspect.signature(glogging.Logger.setup).parameters) == ["self", "cfg"]


def test_gunicorn_workers_know_what_our_hooks_ask_them():
    worker = Worker(
        1,
        os.getppid(),
        [],
        None,
        1,
        SimpleNamespace(
            max_requests=0, worker_tmp_dir=None, uid=os.geteuid(), gid=os.getegid(), umask=0
        ),
        None,
    )

    assert worker.alive
    assert worker.ppid == os.getppid()
    assert hasattr(worker, "app")
    worker.tmp.close()


def get_soon(url):
    """Return what a server says that is about to start."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return httpx.get(url, timeout=5).text
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_gevent_watches_descriptors():
    ours, theirs = socket.socketpair()
    called = []
    with ours, theirs:
        watcher = gevent.get_hub().loop.io(ours.fileno(), 1)  # libev's EV_READ
        watcher.start(lambda: called.append(ours.recv(1)))
        theirs.send(b"x")
        with gevent.Timeout(5):
            while not called:
                gevent.sleep(0)
        watcher.stop()
        watcher.start(lambda: called.append(ours.recv(1)))  # it can be started again
        theirs.send(b"y")
        with gevent.Timeout(5):
            while len(called) < 2:
                gevent.sleep(0)
        watcher.stop()
        watcher.close()

    assert called == [b"x", b"y"]


def test_psycopg_notices_that_the_server_closed_the_connection(postgresql_url):
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        connection = psycopg.connect(postgresql_url)
        connection.pgconn.consume_input()  # nothing to complain about
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))

        assert select.select([connection.fileno()], [], [], 5)[0]  # the goodbye has arrived
        with pytest.raises(psycopg.OperationalError):
            consume_all(connection.pgconn)
        connection.close()


def consume_all(pgconn):
    """Take in the server's last words, which come before the end of the stream."""
    for _ in range(100):
        pgconn.consume_input()
        time.sleep(0.01)


def test_sqlalchemy_tells_the_order_of_parameters_and_who_listens(tmp_path):
    query = sql_select(literal_column("1")).where(
        bindparam("b", type_=Integer) > 0, bindparam("a", type_=Integer) > 1
    )
    for dialect in (SQLiteDialect_pysqlite(), PGDialect_psycopg(paramstyle="numeric_dollar")):
        compiled = query.compile(dialect=dialect)
        assert [name for name in compiled.positiontup if name in ("a", "b")] == ["b", "a"]
        assert compiled.binds.keys() >= compiled.params.keys() >= {"a", "b"}

    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    assert not engine.dispatch.before_cursor_execute  # nobody listens, so nobody is called
    told = []
    event.listen(engine, "before_cursor_execute", lambda *args: told.append(args))
    engine.dispatch.before_cursor_execute("connection", None, "SQL", (), None, False)
    assert told == [("connection", None, "SQL", (), None, False)]


def test_psycopg_executes_by_its_generators(postgresql_url):
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.pgconn.send_prepare(b"ours", b"SELECT $1::int + 1")
        (prepared,) = connection.wait(generators.execute(connection.pgconn))
        assert prepared.status == ExecStatus.COMMAND_OK

        adapter = Transformer(connection)
        values = adapter.dump_sequence([41], [PyFormat.TEXT])
        connection.pgconn.send_query_prepared(b"ours", values, result_format=Format.BINARY)
        (result,) = connection.wait(generators.execute(connection.pgconn))
        adapter.set_pgresult(result)
        assert adapter.load_rows(0, result.ntuples, tuple) == [(42,)]
        adapter.set_pgresult(None)

        connection.pgconn.send_prepare(b"wrong", b"SELEKT")
        (refused,) = connection.wait(generators.execute(connection.pgconn))
        assert isinstance(error_from_result(refused, "utf-8"), psycopg.errors.SyntaxError)


def test_prometheus_takes_its_class_for_values_from_a_variable(tmp_path):
    program = """
from prometheus_client import Counter, values
values.ValueClass = values.MultiProcessValue(lambda: "place-7")
Counter("asked", "Asked.").inc()
"""
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        check=True,
        timeout=START_SECONDS,
    )
    assert [file.name for file in tmp_path.iterdir()] == ["counter_place-7.db"]


def test_gunicorn_keeps_pipelined_requests_in_its_unreader():
    first, second = (f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for name in ("a", "b"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(first + second)
        parser = RequestParser(GunicornConfig(), ours, ("127.0.0.1", 1))

        request = next(parser)
        assert request.path == "/a"
        assert request.unreader.take_buffered() == second
        assert request.unreader.take_buffered() == b""
        request.unreader.unread(second)
        assert next(parser).path == "/b"


def test_gunicorn_holds_as_much_of_a_body_as_its_unreader_says():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        theirs.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        parser = RequestParser(GunicornConfig(), ours, ("127.0.0.1", 1))
        request = next(parser)
        request.unreader.max_body_chunk = 10_000
        theirs.sendall(b"x" * 100_000)

        assert len(request.body.read(10_000)) == 10_000
        assert request.unreader.take_buffered() == b""
