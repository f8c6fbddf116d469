"""What we lean on in libraries and what they do not promise: an upgrade that breaks it fails here."""

import inspect
import os
import select
import socket
import subprocess
import sys
import time

import flask_sock
import gevent
import httpx
import psycopg
import pytest
import simple_websocket
from flask import Blueprint, Flask

from tests.servers import START_SECONDS, free_port

PROBE = """
import os

def app(environ, start_response):
    socket = environ["gunicorn.socket"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield f"{type(socket).__module__} {socket.fileno()} {os.get_blocking(socket.fileno())}".encode()
"""


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


def test_gunicorn_gives_its_socket_which_does_not_block(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    port = free_port()
    process = subprocess.Popen(
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


def test_psycopg_notices_a_server_that_hung_up(postgresql_url):
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
