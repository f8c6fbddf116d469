"""A push service on the loopback, and the browsers that it would wake."""

import json
import secrets
import socket
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep
from typing import Any

import http_ece
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.notifications.push_service import Browser, decoded

SECONDS = 20.0  # that anything may take


@dataclass
class Pushed:
    """A request that arrived.

    Attributes:
        path: Which browser it is for.
        headers: Its headers, by names in small letters.
        body: As it was sent.
    """

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Phone:
    """A browser with its keys."""

    service: "PushService | None"
    path: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    secret: bytes = b"sixteen bytes of"

    @property
    def endpoint(self) -> str:
        return (self.service.url if self.service else "https://push.example.com") + self.path

    @property
    def keys(self) -> dict[str, str]:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "p256dh": urlsafe_b64encode(point).decode().rstrip("="),
            "auth": urlsafe_b64encode(self.secret).decode().rstrip("="),
        }

    @property
    def subscription(self) -> dict[str, Any]:
        """What `PushSubscription.toJSON()` gives in a browser."""
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": self.keys}

    @property
    def browser(self) -> Browser:
        return Browser(self.endpoint, **self.keys)

    def requests(self) -> list[Pushed]:
        assert self.service
        return [each for each in self.service.pushed if each.path == self.path]

    def shown(self) -> list[dict[str, Any]]:
        """Decrypt what came, as the browser does."""
        return [self.decrypt(each.body)["notification"] for each in self.requests()]

    def decrypt(self, body: bytes) -> Any:
        return json.loads(
            http_ece.decrypt(
                body, private_key=self.key, auth_secret=self.secret, version="aes128gcm"
            )
        )

    def wait(self, count: int = 1, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Wait until so many notifications are there, and return them."""
        until = monotonic() + seconds
        while len(self.requests()) < count:
            assert monotonic() < until, f"{self.path}: {len(self.requests())} of {count} came"
            sleep(0.02)
        return self.shown()


def new_subscription() -> dict[str, Any]:
    """Return what a browser gives that no one has heard of; its push service is never asked."""
    return Phone(None, f"/{secrets.token_hex(8)}").subscription


class PushService:
    """Keeps what it is sent. `statuses` tells what it answers to a path, one after the other."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.pushed: list[Pushed] = []
        self.statuses: dict[str, list[int]] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.bodies: dict[str, Iterator[bytes]] = {}
        self.hanging: set[str] = set()
        self.closed = threading.Event()

    def phone(self, path: str) -> Phone:
        return Phone(self, path)

    def status_for(self, path: str) -> int:
        statuses = self.statuses.get(path, [])
        return statuses.pop(0) if len(statuses) > 1 else (statuses or [201])[0]


@contextmanager
def push_service() -> Iterator[PushService]:
    """Run a push service."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            service.pushed.append(Pushed(self.path, headers, body))
            if self.path in service.hanging:
                service.closed.wait(SECONDS)
                return
            self.send_response(service.status_for(self.path))
            for name, value in service.headers.get(self.path, {}).items():
                self.send_header(name, value)
            self.end_headers()
            for piece in service.bodies.get(self.path, ()):
                try:
                    self.wfile.write(piece)
                except OSError:
                    return

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = PushService(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield service
    finally:
        service.closed.set()
        server.shutdown()
        thread.join()
        server.server_close()


def claims_of(authorization: str, public: str) -> dict[str, Any]:
    """Check the signature of a `vapid` header, as a push service does, and return its claims."""
    scheme, _, rest = authorization.partition(" ")
    parts = dict(each.strip().split("=", 1) for each in rest.split(","))
    assert (scheme, parts["k"]) == ("vapid", public)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(public))
    claims: dict[str, Any] = jwt.decode(
        parts["t"], key, algorithms=["ES256"], options={"verify_aud": False}
    )
    return claims


def answer_for(
    monkeypatch: pytest.MonkeyPatch, host: str, answer: Callable[[], Sequence[str]]
) -> None:
    """Let one name stand for other addresses; other threads ask for theirs as ever.

    Args:
        monkeypatch: Of the test.
        host: The name.
        answer: Returns the addresses.
    """
    look_up = socket.getaddrinfo

    def getaddrinfo(asked: Any, port: Any, *args: Any, **options: Any) -> Any:
        if asked != host:
            return look_up(asked, port, *args, **options)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
