"""Chats for tests, held as a client would: paths of rooms, sockets, frames with a deadline."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.factories import Person

SECONDS = 10  # how long anything that has to come may take


def messages_path(room: Mapping[str, Any]) -> str:
    """Return the path of a room's messages."""
    return f"/messenger/api/chatrooms/{quote(room['name'], safe='')}/messages/"


def chat_path(room_name: str, **query: object) -> str:
    """Return the path of a room's socket."""
    asked = f"?{urlencode(query)}" if query else ""
    return f"/messenger/ws/ws/chat/{quote(room_name, safe='')}/{asked}"


def open_socket(
    url: str, headers: Mapping[str, str] | None = None, **options: Any
) -> ClientConnection:
    """Open a WebSocket, to be used in a `with`.

    Args:
        url: Of a server and its path; `http://` stands for `ws://`.
        headers: Of the handshake.
        options: More of what `websockets` understands.
    """
    socket: ClientConnection = connect(
        url.replace("http://", "ws://", 1),
        additional_headers=headers,
        proxy=None,
        open_timeout=SECONDS,
        close_timeout=SECONDS,
        **options,
    )
    return socket


def join(person: Person, room: Mapping[str, Any], **query: object) -> ClientConnection:
    """Open somebody's socket in a room."""
    return open_socket(person.url + chat_path(room["name"], **query), person.bearer)


def send_text(socket: ClientConnection, text: str, **more: Any) -> None:
    """Send a message."""
    socket.send(json.dumps({"message": text} | more))


def hear(socket: ClientConnection) -> dict[str, Any]:
    """Return the next frame, which has to come."""
    frame: dict[str, Any] = json.loads(socket.recv(timeout=SECONDS))
    return frame


def close_code(socket: ClientConnection) -> int | None:
    """Return the code that the server closes a socket with, and says nothing before."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=SECONDS)
    return None if closed.value.rcvd is None else closed.value.rcvd.code
