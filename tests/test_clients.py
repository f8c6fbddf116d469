"""One short conversation, held with every library that people bring, and with none at all."""

import json
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import httpx
import pytest
import websocket

from tests.factories import PASSWORD, new_name
from tests.servers import Server
from tests.shapes import check_shape
from tests.talk import SECONDS, chat_path, messages_path, open_socket

MESSAGE = {"id": 1, "user": "user1", "content": "Привет!", "timestamp": "2023-12-01T10:00:00Z"}


class Chat(NamedTuple):
    """An open socket."""

    send: Callable[[str], Any]
    receive: Callable[[], str | bytes]


class Client(NamedTuple):
    """How somebody talks to a server.

    Attributes:
        rest: Sends a body to a URL, if there is one, and returns the answer's body.
        chat: Opens a socket at a `ws://` URL.
    """

    rest: Callable[[str, Any, dict[str, str]], Any]
    chat: Callable[[str, dict[str, str]], AbstractContextManager[Chat]]


def rest_by_httpx(url: str, body: Any, headers: dict[str, str]) -> Any:
    method = "GET" if body is None else "POST"
    answer = httpx.request(method, url, json=body, headers=headers, timeout=SECONDS, verify=False)
    return answer.raise_for_status().json()


def rest_by_urllib(url: str, body: Any, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, headers | {"Content-Type": "application/json"})
    # Without an opener of our own it would look for a proxy in the environment.
    with build_opener(ProxyHandler({})).open(request, timeout=SECONDS) as answer:
        return json.load(answer)


@contextmanager
def chat_by_websockets(url: str, headers: dict[str, str]) -> Iterator[Chat]:
    with open_socket(url, headers) as connection:
        yield Chat(connection.send, lambda: connection.recv(timeout=SECONDS, decode=True))


@contextmanager
def chat_by_websocket_client(url: str, headers: dict[str, str]) -> Iterator[Chat]:
    connection = websocket.create_connection(
        url, header=headers, timeout=SECONDS, http_no_proxy=["127.0.0.1"]
    )
    try:
        yield Chat(connection.send, connection.recv)
    finally:
        connection.close()


@contextmanager
def chat_by_hand(url: str, headers: dict[str, str]) -> Iterator[Chat]:
    """Shake hands and frame texts with nothing but a TCP socket (RFC 6455, sections 4.1 and 5.2)."""
    parts = urlsplit(url)
    with (
        socket.create_connection((parts.hostname, parts.port), SECONDS) as stream,
        stream.makefile("rb") as reader,
    ):
        lines = [
            f"GET {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        stream.sendall("\r\n".join([*lines, "", ""]).encode())
        assert reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        answered = [line.strip().decode().lower() for line in iter(reader.readline, b"\r\n")]
        # What the key of RFC 6455, section 1.3, has to be answered with.
        assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in answered

        def send(text: str) -> None:
            payload, mask = text.encode(), secrets.token_bytes(4)
            masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
            stream.sendall(bytes((0x81, 0x80 | len(payload))) + mask + masked)

        def receive() -> str:
            first, length = reader.read(2)
            assert first == 0x81
            if length == 126:
                length = int.from_bytes(reader.read(2))
            return reader.read(length).decode()

        yield Chat(send, receive)
        stream.sendall(b"\x88\x82\0\0\0\0\x03\xe8")  # goodbye, 1000
        assert reader.read() == b"\x88\x02\x03\xe8"


CLIENTS = {
    "httpx and websockets": Client(rest_by_httpx, chat_by_websockets),
    "httpx and websocket-client": Client(rest_by_httpx, chat_by_websocket_client),
    "urllib and a bare socket": Client(rest_by_urllib, chat_by_hand),
}


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_holds_a_conversation(server: Server, client: Client) -> None:
    def log_in(username: str) -> dict[str, str]:
        account = {"username": username, "password": PASSWORD}
        email = f"{secrets.token_hex(6)}@example.com"
        client.rest(f"{server.url}/accounts/api/users/", account | {"email": email}, {})
        tokens = client.rest(f"{server.url}/accounts/api/token/", account, {})
        return {"Authorization": f"Bearer {tokens['access']}"}

    ann, bob = new_name("ann"), new_name("bob")
    bearer_of_ann, bearer_of_bob = log_in(ann), log_in(bob)
    room = client.rest(f"{server.url}/messenger/api/chatrooms/", {"recipient": bob}, bearer_of_ann)
    messages = server.url + messages_path(room)
    socket_url = server.ws_url + chat_path(room["name"])

    with (
        client.chat(socket_url, bearer_of_ann) as chat_of_ann,
        client.chat(socket_url, bearer_of_bob) as chat_of_bob,
    ):
        chat_of_ann.send('{"message": "Привет!"}')
        on_text = [json.loads(chat_of_bob.receive())]
        chat_of_bob.send('{"message": "И тебе 😀"}')
        on_text.append(json.loads(chat_of_bob.receive()))
        on_text.append(client.rest(messages, {"content": "по REST"}, bearer_of_ann))
        said = [json.loads(chat_of_ann.receive()) for _ in range(3)]
        assert json.loads(chat_of_bob.receive()) == on_text[-1]

    check_shape(on_text, [MESSAGE])
    assert [(each["user"], each["content"]) for each in on_text] == [
        (ann, "Привет!"),
        (bob, "И тебе 😀"),
        (ann, "по REST"),
    ]
    assert said == on_text
    assert client.rest(messages, None, bearer_of_bob) == on_text
